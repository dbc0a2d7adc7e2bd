"""Makes the tiny random checkpoints of src/model/testdata and what Hugging Face transformers computes on them.

    python tools/make_tiny_checkpoints.py src/model/testdata [NAME...]

Needs torch, transformers, safetensors. Weights have a wide distribution (norms and biases too), so that every term of the
forward pass affects the logits; they are stored as BF16, the logits are those of the fp32 model on these BF16 values.
Windows and the contexts of scaled ropes are shorter than the 40 tokens, so that they matter. make_tiny_ggufs.py makes the GGUF files.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
import transformers as hf
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

COMMON = dict(
    vocab_size=96, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
)
# With the vocabulary of the tokenizers that make_tiny_ggufs.py trains.
OTHERS = {**COMMON, "vocab_size": 300}
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=8.0, beta_slow=1.0)
SLIDING, FULL = "sliding_attention", "full_attention"
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
    # Windows of 7 positions in five of six blocks, two ropes, the second one scaled. GGUF does not keep query_pre_attn_scalar.
    "tiny-gemma3": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(
        **{**OTHERS, "num_hidden_layers": 7, "intermediate_size": 40}, head_dim=12, query_pre_attn_scalar=12, sliding_window=7,
        rope_parameters={SLIDING: dict(rope_type="default", rope_theta=10000.0),
                         FULL: dict(rope_type="linear", rope_theta=1000000.0, factor=8.0)})),
    # A window in every block. GGUF files of Mistral do not keep it, so there is none.
    "tiny-mistral": (hf.MistralForCausalLM, hf.MistralConfig(
        **OTHERS, head_dim=10, sliding_window=9, rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    # YaRN, and queries that grow every 16 positions.
    "tiny-ministral3": (hf.Ministral3ForCausalLM, hf.Ministral3Config(
        **OTHERS, head_dim=12, rope_parameters=dict(
            **YARN, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.3))),
    # LongRoPE beyond its short context, a part of each head, a window.
    "tiny-phi3": (hf.Phi3ForCausalLM, hf.Phi3Config(
        **{**OTHERS, "num_attention_heads": 2, "num_key_value_heads": 1}, pad_token_id=0, sliding_window=11,
        original_max_position_embeddings=16, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=[1.0 + 0.1 * i for i in range(6)],
            long_factor=[2.0 + 0.7 * i for i in range(6)], original_max_position_embeddings=16))),
    # Every fourth block has no positions.
    "tiny-smollm3": (hf.SmolLM3ForCausalLM, hf.SmolLM3Config(
        **{**OTHERS, "num_hidden_layers": 5}, pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=50000.0))),
    "tiny-olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config(
        **OTHERS, pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=500000.0))),
    "tiny-olmo3": (hf.Olmo3ForCausalLM, hf.Olmo3Config(
        **{**OTHERS, "num_hidden_layers": 4}, pad_token_id=0, sliding_window=6,
        rope_parameters={SLIDING: dict(rope_type="default", rope_theta=10000.0), FULL: dict(**YARN, attention_factor=1.2)})),
    "tiny-granite": (hf.GraniteForCausalLM, hf.GraniteConfig(
        **OTHERS, embedding_multiplier=12.0, attention_multiplier=0.1, residual_multiplier=0.22, logits_scaling=8.0,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    # Soft caps small enough to bend, a window in every second block.
    "tiny-gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config(
        **OTHERS, head_dim=12, query_pre_attn_scalar=12, sliding_window=7, attn_logit_softcapping=5.0,
        final_logit_softcapping=4.0, rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    # As 31B: keys that are values in full blocks, whose heads are wider and fewer.
    "tiny-gemma4": (hf.Gemma4ForCausalLM, hf.Gemma4TextConfig(
        **{**OTHERS, "num_hidden_layers": 3}, head_dim=8, global_head_dim=16, num_global_key_value_heads=1, attention_k_eq_v=True,
        hidden_size_per_layer_input=0, sliding_window=7, final_logit_softcapping=9.0, layer_types=[SLIDING, SLIDING, FULL])),
    # As E2B: embeddings of each block, keys and values shared by the last blocks, whose feed-forward parts are wider.
    "tiny-gemma4-e": (hf.Gemma4ForCausalLM, hf.Gemma4TextConfig(
        **{**OTHERS, "num_hidden_layers": 6, "intermediate_size": 40, "num_key_value_heads": 1}, head_dim=8, global_head_dim=16,
        vocab_size_per_layer_input=300, hidden_size_per_layer_input=5, num_kv_shared_layers=2, use_double_wide_mlp=True,
        sliding_window=7, final_logit_softcapping=9.0, layer_types=[SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL])),
    # Neighbours turn together, in half of each head; norms after the parts too.
    "tiny-glm4": (hf.Glm4ForCausalLM, hf.Glm4Config(
        **OTHERS, head_dim=12, pad_token_id=0, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    "tiny-glm": (hf.GlmForCausalLM, hf.GlmConfig(
        **OTHERS, head_dim=12, pad_token_id=0, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    # Biases on q, k, v and heads of a size of their own.
    "tiny-seed-oss": (hf.SeedOssForCausalLM, hf.SeedOssConfig(
        **OTHERS, head_dim=10, rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "tiny-gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(
        vocab_size=300, n_embd=30, n_head=3, n_layer=2, n_positions=64, bos_token_id=1, eos_token_id=2)),
    "tiny-gpt-neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(
        vocab_size=300, hidden_size=36, num_attention_heads=3, num_hidden_layers=2, intermediate_size=88,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
}
# Beyond the short context, transformers changes the frequencies of keys that are in the cache already. This program takes those
# of the whole session from the first token on, as llama.cpp does: token by token gives what all tokens together give.
LONG_FROM_THE_START = {"tiny-phi3"}
# The logits token by token are kept beside those of all tokens together; the others would be the same but for rounding.
WITH_DECODE = {"tiny-llama", "tiny-qwen2", "tiny-qwen3"}


def make(folder: pathlib.Path, model_class, config) -> None:
    torch.manual_seed(20)
    model = model_class(config).float().eval()
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n.endswith("layer_scalar"))]:
            spread = 0.3 if parameter.ndim == 2 else 0.5
            is_norm = ("norm" in name or ".ln_" in name or "layer_scalar" in name) and not name.endswith(".bias")
            if folder.name.startswith(("tiny-gemma2", "tiny-gemma3")) and is_norm:
                centre = 0.0  # stored as weight - 1
            else:
                centre = 1.0 if is_norm else 0.0
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
    expected = {"tokens": tokens[0].to(torch.int32), "prefill": prefill.contiguous()}
    if folder.name in WITH_DECODE:
        expected["decode"] = decode.contiguous()
    elif folder.name not in LONG_FROM_THE_START:
        assert (prefill - decode).abs().max() < 2e-5 * prefill.abs().max(), "token by token transformers computes the same"
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    for name in sys.argv[2:] or MODELS:
        make(pathlib.Path(sys.argv[1]) / name, *MODELS[name])
