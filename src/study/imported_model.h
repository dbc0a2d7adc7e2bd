// A file that another program quantized from the same base model. It is evaluated unchanged, beside this program's
// rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"
#include "text/token_stream.h"
#include "text/tokenizer.h"

namespace marlin {

struct ImportRequest {
  std::filesystem::path file;
  std::string name;  // "llama.cpp Q4_K_M"
  std::vector<std::string> accept_unknown{};
};

struct ImportedModel {
  std::filesystem::path path;
  std::string name;
  std::string source_type;  // SourceType: "Q4_K_M"
  std::string sha256;
  Checkpoint checkpoint;
  // Of the tensors in the file. Quantized = of a type that is not a plain float.
  std::uint64_t model_bytes = 0;
  std::uint64_t quantized_bytes = 0;
  std::uint64_t quantized_parameters = 0;
  bool quantized_embeddings = false;
  bool quantized_head = false;
};

// Opens the file and checks that it is comparable with `base`: the same shapes, the same tokens for the start of `text`
// (the tokens of the evaluation text; empty = not looked at), the same last norm, which quantization leaves alone, and
// weights that point the same way. Errors: those of opening; kInput (another model: says where they differ; nothing in
// it is quantized).
Result<ImportedModel> OpenImport(const ImportRequest& request, const Checkpoint& base, const Description& description,
                                 const Tokenizer& tokenizer, std::string_view text);

}  // namespace marlin
