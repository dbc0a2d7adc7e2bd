// A small random Llama in one GGUF file whose matrices are IQ4_NL, 4.5 bits per weight.
#pragma once

#include <filesystem>

namespace marlin {

// hidden 64, intermediate 96, 1 layer, 2 heads, vocabulary 256 (one token per byte), head tied to the F32 embedding.
void WriteTinyGguf(const std::filesystem::path& file);

}  // namespace marlin
