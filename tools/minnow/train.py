"""Trains minnow, the small model in models/minnow: tokenizer, weights, files.

    train.py --data DIR --out DIR [--epochs 50] [--dropout 0.2] [--seed 1]

DIR holds plain .txt files. The last 2 % of each file are held out: they choose the moment to stop and are never trained on. Needs
torch, transformers, tokenizers, safetensors and a GPU; takes minutes on one H100. Writes the Hugging Face folder and training.json: the
loss curve, the seed, the tokens seen, the time.

Architecture: Llama, vocabulary 4096 (byte-level BPE of the same text), hidden 256, 8 layers, 8 heads of 32, 4 of them for keys and
values, intermediate 768, context 512, tied embeddings; 7,344,384 parameters, published in BF16. The corpus is small for that, so every
residual branch and the embedding have dropout, matrices have weight decay, and training stops when the held-out loss has not improved
for several epochs.
"""

import argparse
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from corpus import split_files

VOCABULARY = 4096
CONTEXT = 512
END = "<|endoftext|>"  # between files; also ends generation
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "intermediate_size": 768,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "bos_token_id": None,
    "eos_token_id": 0,
    "torch_dtype": "bfloat16",
}
PARAMETERS = 7_344_384


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((line for text in texts for line in text.splitlines(keepends=True)), trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def ids_of(tokenizer, texts):
    ids = []
    for text in texts:
        ids += tokenizer.encode(text).ids + [0]
    return torch.tensor(ids, dtype=torch.long)


def add_dropout(model, rate):
    """Dropout behind the embedding and behind every residual branch, in training only."""

    def drop(module, _, output):
        return F.dropout(output, rate, training=module.training)

    model.model.embed_tokens.register_forward_hook(drop)
    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.down_proj.register_forward_hook(drop)


@torch.no_grad()
def held_out_loss(model, ids):
    """Mean nats per token over disjoint windows of the context, all but the first token of each scored."""
    model.eval()
    windows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    total = 0.0
    for batch in windows.split(64):
        logits = model(input_ids=batch).logits[:, :-1].float()
        total += F.cross_entropy(logits.reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1), reduction="sum").double().item()
    model.train()
    return total / (windows.shape[0] * (CONTEXT - 1))


def rounded(model):
    """The weights as they are published: BF16."""
    return {name: tensor.detach().to(torch.bfloat16).clone() for name, tensor in model.named_parameters()}


def make_optimizer(model, rate):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)


def train(train_ids, test_ids, options):
    """(best weights in BF16, report)"""
    torch.manual_seed(options.seed)
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k not in ("architectures", "torch_dtype")}))
    model = model.cuda()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS
    add_dropout(model, options.dropout)
    optimizer = make_optimizer(model, options.rate)
    forward = torch.compile(model)
    windows = (len(train_ids) - CONTEXT) // CONTEXT - 1
    steps_per_epoch = windows // options.batch
    total, warmup = steps_per_epoch * options.epochs, 200
    offsets = torch.arange(CONTEXT, device="cuda")
    best, best_loss, since_best, step, curve = None, math.inf, 0, 0, []
    start = time.time()
    for epoch in range(options.epochs):
        shift = int(torch.randint(CONTEXT, (1,)))
        order = torch.randperm(windows, device="cuda") * CONTEXT + shift
        running = torch.zeros((), device="cuda")
        for i in range(steps_per_epoch):
            scale = min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total)))
            for group in optimizer.param_groups:
                group["lr"] = options.rate * scale
            batch = train_ids[order[i * options.batch : (i + 1) * options.batch, None] + offsets]
            with torch.autocast("cuda", dtype=torch.bfloat16):
                logits = forward(input_ids=batch).logits[:, :-1]
            loss = F.cross_entropy(logits.float().reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            running += loss.detach()
            step += 1
        now = held_out_loss(model, test_ids)
        curve.append({"epoch": epoch + 1, "train": running.item() / steps_per_epoch, "held_out": now})
        print(f"epoch {epoch + 1:3d}  train {curve[-1]['train']:.4f}  held out {now:.4f}  {time.time() - start:.0f} s", flush=True)
        if now < best_loss - 1e-4:
            best, best_loss, since_best = rounded(model), now, 0
        else:
            since_best += 1
        if since_best >= options.patience or time.time() - start > options.seconds:
            break
    return best, {
        "seed": options.seed, "dropout": options.dropout, "rate": options.rate, "batch": options.batch, "epochs_planned": options.epochs,
        "epochs_run": len(curve), "tokens_seen": step * options.batch * CONTEXT, "seconds": round(time.time() - start, 1),
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "curve": curve,
    }


def check_published(weights, parts, tokenizer):
    """Held-out loss of the BF16 weights computed in fp32, per file and over all, and what greedy decoding writes."""
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k not in ("architectures", "torch_dtype")})).cuda()
    model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    model.tie_weights()
    losses = {name: held_out_loss(model, ids_of(tokenizer, [test]).cuda()) for name, _, test in parts}
    losses["all"] = held_out_loss(model, ids_of(tokenizer, [test for *_, test in parts]).cuda())
    prompt = torch.tensor([tokenizer.encode("It was a dark night, and the captain").ids], device="cuda")
    model.eval()
    written = model.generate(prompt, max_new_tokens=60, do_sample=False, eos_token_id=0, pad_token_id=0)
    print(tokenizer.decode(written[0].tolist()))
    return losses


def write_folder(out, weights, tokenizer, report):
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in weights.items() if name != "lm_head.weight"}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    write("config.json", CONFIG)
    write("generation_config.json", {"eos_token_id": 0, "pad_token_id": 0})
    write("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "model_max_length": CONTEXT})
    write("training.json", report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of .txt files")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50, help="length of the learning-rate schedule")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=64, help="windows per step")
    parser.add_argument("--patience", type=int, default=6, help="epochs without improvement before it stops")
    parser.add_argument("--seconds", type=float, default=3600, help="stop after the epoch in which this time is over")
    options = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    parts = split_files(options.data)
    tokenizer = train_tokenizer([text for _, text, _ in parts])
    train_ids = ids_of(tokenizer, [text for _, text, _ in parts]).cuda()
    test_ids = ids_of(tokenizer, [test for *_, test in parts]).cuda()
    print(f"{len(train_ids)} tokens to train on, {len(test_ids)} held out", flush=True)
    weights, report = train(train_ids, test_ids, options)
    torch.set_float32_matmul_precision("highest")
    report.update(train_tokens=len(train_ids), held_out_tokens=len(test_ids), files=[name for name, *_ in parts])
    report["held_out_loss_of_published_weights"] = check_published(weights, parts, tokenizer)
    print(json.dumps(report["held_out_loss_of_published_weights"]))
    write_folder(options.out, weights, tokenizer, report)


if __name__ == "__main__":
    main()
