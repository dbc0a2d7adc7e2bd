"""Makes the tiny random checkpoints of src/model/testdata and what Hugging Face transformers computes on them.

    python tools/make_tiny_checkpoints.py src/model/testdata [NAME...]

Needs torch, transformers, safetensors, gguf. Weights have a wide distribution (norms and biases too), so that every term of the
forward pass affects the logits; they are stored as BF16, the logits are those of the fp32 model on these BF16 values.
Families whose values llama.cpp's converter keeps as they are get a GGUF file too, with the names of the package gguf.
"""

import json
import pathlib
import sys

import gguf
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

COMMON = dict(
    vocab_size=96, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
)
MODELS = {
    # Grouped-query attention, an own head, the llama3 scaling of rotary frequencies.
    "tiny-llama": (LlamaForCausalLM, LlamaConfig(
        **COMMON, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=32))),
    # Biases on q, k, v; the head is the embedding.
    "tiny-qwen2": (Qwen2ForCausalLM, Qwen2Config(
        **COMMON, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    # Norms of queries and keys, heads of a size of their own, an own head.
    "tiny-qwen3": (Qwen3ForCausalLM, Qwen3Config(
        **COMMON, head_dim=12, tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
}
GGUF = {"tiny-qwen3": gguf.MODEL_ARCH.QWEN3}


def write_gguf(path: pathlib.Path, arch, model) -> None:
    """The model as llama.cpp's converter writes it: matrices in BF16, vectors in F32. There is no tokenizer."""
    config = model.config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, values in model.state_dict().items():
        name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if values.ndim == 1:
            writer.add_tensor(name, values.float().numpy())
        else:
            bits = values.to(torch.bfloat16).view(torch.uint8).numpy()
            writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(folder: pathlib.Path, model_class, config) -> None:
    torch.manual_seed(20)
    model = model_class(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.3 if parameter.ndim == 2 else 0.5
            centre = 1.0 if "norm" in name else 0.0
            parameter.copy_((torch.randn_like(parameter) * spread + centre).to(torch.bfloat16).float())
        tokens = torch.randint(0, config.vocab_size, (1, 40))
        prefill = model(tokens).logits[0]
        cache, steps = None, []
        for i in range(tokens.shape[1]):
            out = model(tokens[:, i:i + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[0, 0])
        decode = torch.stack(steps)
        print(f"{folder.name}: max |logit| {prefill.abs().max():.3f}, prefill against decode {(prefill - decode).abs().max():.2e}")
    model.to(torch.bfloat16).save_pretrained(folder)
    if folder.name in GGUF:
        write_gguf(folder.with_suffix(".gguf"), GGUF[folder.name], model)
    config_path = folder / "config.json"
    config_json = json.loads(config_path.read_text())
    config_path.write_text(json.dumps(config_json, indent=2) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": tokens[0].to(torch.int32), "prefill": prefill.contiguous(), "decode": decode.contiguous()},
              folder / "expected.safetensors")


if __name__ == "__main__":
    for name in sys.argv[2:] or MODELS:
        make(pathlib.Path(sys.argv[1]) / name, *MODELS[name])
