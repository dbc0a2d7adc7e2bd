// The names of the mixtures of types that GGUF files are published in ("Q4_K_M"): general.file_type is their number.
#pragma once

#include <cstdint>
#include <string_view>

#include "files/tensor.h"

namespace marlin {

struct GgufFileType {
  std::int64_t number;    // general.file_type, as llama.cpp numbers them
  std::string_view name;  // as the names of files spell it
  DType base;             // of some of its matrices, most often of most
};

// nullptr when this program does not know the number.
const GgufFileType* FindGgufFileType(std::int64_t number);
const GgufFileType* FindGgufFileType(std::string_view name);

}  // namespace marlin
