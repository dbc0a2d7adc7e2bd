// Results of other programs for tests: made-up numbers in the shape of their files. Not a part of the program.
#pragma once

#include <fmt/format.h>

#include <string>

namespace marlin::test {

// One test of llama-bench, three repetitions.
inline std::string LlamaBenchEntry(int prompt, int generated, double tok_s, const std::string& extra = "") {
  return fmt::format(
      R"({{"build_commit": "1234abcd", "build_number": 6001, "cpu_info": "Made-up CPU 9  ", "gpu_info": "", )"
      R"("backends": "CPU", "model_filename": "/home/someone/models/tiny-Q4_K_M.gguf", "model_type": "tiny 1B Q4_K", )"
      R"("model_size": 640000000, "model_n_params": 1100000000, "n_batch": 2048, "n_ubatch": 512, "n_threads": 8, )"
      R"("type_k": "f16", "type_v": "q8_0", "n_gpu_layers": -1, "flash_attn": false, "n_prompt": {}, "n_gen": {}, )"
      R"("n_depth": 0, "test_time": "2025-06-01T12:00:0{}Z", "avg_ns": 1, "stddev_ns": 1, "avg_ts": {:.6f}, )"
      R"("stddev_ts": 2.500000, "samples_ns": [1, 1, 1], "samples_ts": [{}, {}, {}]{}}})",
      prompt, generated, generated > 0 ? 5 : 1, tok_s, tok_s - 2.5, tok_s, tok_s + 2.5, extra);
}

// `-o json` and `-o jsonl` of two tests.
inline std::string LlamaBenchJson() {
  return "[\n  " + LlamaBenchEntry(512, 0, 310.5) + ",\n  " + LlamaBenchEntry(0, 128, 41.25) + "\n]\n";
}
inline std::string LlamaBenchLines() {
  return LlamaBenchEntry(512, 0, 310.5) + "\n" + LlamaBenchEntry(0, 128, 41.25) + "\n";
}

// Two tasks and a group.
inline std::string LmEvalJson() {
  return R"({
  "results": {
    "quiz_easy": {"alias": "quiz_easy", "acc,none": 0.625, "acc_stderr,none": 0.0125, "acc_norm,none": 0.5,
                  "acc_norm_stderr,none": "N/A"},
    "sums": {"alias": " - sums", "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.03,
             "sample_len": 200},
    "all": {"alias": "all", " ": " "}
  },
  "groups": {"all": {"alias": "all", " ": " "}},
  "group_subtasks": {"all": ["quiz_easy", "sums"]},
  "configs": {"quiz_easy": {"doc_to_text": "{{question}}"}},
  "versions": {"quiz_easy": 1.0, "sums": "2"},
  "n-shot": {"quiz_easy": 0, "sums": 5},
  "higher_is_better": {"quiz_easy": {"acc": true, "acc_norm": true}, "sums": {"exact_match": null}},
  "n-samples": {"quiz_easy": {"original": 1500, "effective": 1500}, "sums": {"original": 900, "effective": 200}},
  "config": {"model": "hf", "model_args": "pretrained=Org/Tiny-1B,dtype=bfloat16,api_key=SECRET", "batch_size": "8",
             "device": "cuda:0", "limit": 200.0, "bootstrap_iters": 100000, "gen_kwargs": null,
             "model_num_parameters": 1100000000, "model_dtype": "torch.bfloat16"},
  "git_hash": "abcd123", "date": 1748779200.75, "lm_eval_version": "0.4.8", "transformers_version": "4.51.0",
  "model_source": "hf", "model_name": "Org/Tiny-1B", "chat_template_sha": null,
  "total_evaluation_time_seconds": "12.5"
})";
}

}  // namespace marlin::test
