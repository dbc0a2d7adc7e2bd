// Translates a GGUF file's configuration keys and tensor names to those of Hugging Face. A family of models is a row of
// the table in gguf_to_hf.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "base/result.h"
#include "io/gguf.h"
#include "io/tensor.h"

namespace marlin {

struct HuggingFaceView {
  nlohmann::json config;        // the keys of config.json
  std::vector<Tensor> tensors;  // in file order; spans point into the GGUF file, row_order is set where rows differ
};

// Errors: kInput (missing or contradictory metadata), kUnsupported (an architecture, a setting or a tensor without a
// row in the tables: each is named; nothing that changes numbers is dropped).
Result<HuggingFaceView> TranslateGguf(const GgufFile& gguf);

}  // namespace marlin
