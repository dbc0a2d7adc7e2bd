"""Writes what Hugging Face transformers stores for one small model of each family: names and shapes of the tensors, and config.json.

    python tools/list_state_dicts.py src/model/testdata/state_dicts

Needs torch and transformers. Sizes differ from each other, so that a description with two sizes exchanged does not fit. The lists
are what save_pretrained writes, as in published checkpoints; a model in memory may have stacked what its files keep apart.
"""

import json
import pathlib
import struct
import sys
import tempfile

import transformers as hf

COMMON = dict(vocab_size=61, hidden_size=24)
GROUPED = dict(num_attention_heads=4, num_key_value_heads=2)
FAMILIES = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(
        **COMMON, **GROUPED, num_hidden_layers=2, intermediate_size=40, head_dim=6, attention_bias=True, mlp_bias=True)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(
        **COMMON, **GROUPED, num_hidden_layers=2, intermediate_size=40, tie_word_embeddings=True)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(
        **COMMON, **GROUPED, num_hidden_layers=2, intermediate_size=40, head_dim=10)),
    # Three blocks of linear attention, one of full attention.
    "qwen3_5": lambda: hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(
        **COMMON, **GROUPED, num_hidden_layers=4, intermediate_size=40, head_dim=16, linear_key_head_dim=5,
        linear_value_head_dim=7, linear_num_key_heads=2, linear_num_value_heads=6, linear_conv_kernel_dim=4)),
    # As E2B: embeddings of each block, keys and values shared by the last blocks, whose feed-forward parts are wider.
    "gemma4": lambda: hf.Gemma4ForCausalLM(hf.Gemma4TextConfig(
        **COMMON, **GROUPED, num_hidden_layers=6, intermediate_size=40, head_dim=8, global_head_dim=16,
        vocab_size_per_layer_input=59, hidden_size_per_layer_input=5, num_kv_shared_layers=2, use_double_wide_mlp=True,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
                     "full_attention"])),
    "gpt_oss": lambda: hf.GptOssForCausalLM(hf.GptOssConfig(
        **COMMON, **GROUPED, num_hidden_layers=2, intermediate_size=10, head_dim=8, num_local_experts=3,
        num_experts_per_tok=2)),
    # The first block has a dense feed-forward part.
    "deepseek_v3": lambda: hf.DeepseekV3ForCausalLM(hf.DeepseekV3Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=4, num_hidden_layers=3, intermediate_size=40,
        moe_intermediate_size=9, first_k_dense_replace=1, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1,
        n_shared_experts=2, q_lora_rank=11, kv_lora_rank=13, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5)),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(
        **COMMON, **GROUPED, num_hidden_layers=2, intermediate_size=40, pad_token_id=0)),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=61, n_embd=24, n_head=4, n_layer=2, n_positions=37)),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(
        **COMMON, num_attention_heads=4, num_hidden_layers=2, intermediate_size=40, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.67))),
}


def tensors(path: pathlib.Path) -> list[str]:
    """Lines "name rows cols" of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sorted(" ".join([name, *map(str, value["shape"])]) for name, value in header.items() if name != "__metadata__")


def main(out: pathlib.Path) -> None:
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    for name, make in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            make().save_pretrained(folder)
            config = json.loads((pathlib.Path(folder) / "config.json").read_text())
            lines = tensors(pathlib.Path(folder) / "model.safetensors")
        for key in ("transformers_version", "dtype"):
            config.pop(key, None)
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        (out / name / "tensors.txt").write_text("\n".join(lines) + "\n")
        print(f"{name}: {len(lines)} tensors")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
