// A small random Llama in one GGUF file whose matrices are IQ4_NL, 4.5 bits per weight.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace marlin {

// hidden 64, intermediate 96, 1 layer, 2 heads, vocabulary 256 (one token per byte), head tied to the F32 embedding.
// biases: layers of the block ("attn_v") that get a bias, in F32.
void WriteTinyGguf(const std::filesystem::path& file, const std::vector<std::string>& biases = {});

}  // namespace marlin
