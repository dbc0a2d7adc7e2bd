// Translates a GGUF file's configuration keys and tensor names to those of Hugging Face. The names are in gguf_names.h.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/accepted_names.h"
#include "files/gguf.h"
#include "files/tensor.h"

namespace marlin {

struct HuggingFaceView {
  nlohmann::json config;              // the keys of config.json
  std::vector<Tensor> tensors;        // in file order; spans point into the GGUF file, `stored` says where they differ
  std::vector<std::string> left_out;  // tensors without effect, by their GGUF names
  std::function<std::string(std::string_view)> name_in_file;  // of a name of Hugging Face
};

// The configuration key that lists which linear layers have a bias, where the keys of Hugging Face cannot say it.
inline constexpr const char* kBiasesKey = "metal_marlin_biases";

// Errors: kInput (missing or contradictory metadata), kUnsupported (an architecture, a setting or a tensor without a
// row in the tables: each is named; nothing that changes numbers is dropped unless it is among the accepted names).
Result<HuggingFaceView> TranslateGguf(const GgufFile& gguf, AcceptedNames& accepted);

}  // namespace marlin
