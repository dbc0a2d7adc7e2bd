"""Makes the tiny random checkpoints of src/model/testdata and what Hugging Face transformers computes on them.

    python tools/make_tiny_checkpoints.py src/model/testdata

Needs torch, transformers, safetensors. Weights have a wide distribution (norms and biases too), so that every term of the
forward pass affects the logits; they are stored as BF16, the logits are those of the fp32 model on these BF16 values.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

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
}


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
    config_path = folder / "config.json"
    config_json = json.loads(config_path.read_text())
    config_path.write_text(json.dumps(config_json, indent=2) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": tokens[0].to(torch.int32), "prefill": prefill.contiguous(), "decode": decode.contiguous()},
              folder / "expected.safetensors")


if __name__ == "__main__":
    for name, (model_class, config) in MODELS.items():
        make(pathlib.Path(sys.argv[1]) / name, model_class, config)
