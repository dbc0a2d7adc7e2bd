// A small random model in a Hugging Face folder, with a tokenizer of bytes: enough to run every command in
// milliseconds.
#pragma once

#include <filesystem>

namespace marlin {

// hidden 64, 2 layers, vocabulary 256 (one token per byte), BF16; row lengths 64 and 96, which g64 divides only partly.
// Heads of other families than Llama have 24 dimensions.
void WriteTinyModel(const std::filesystem::path& folder, const char* architecture = "LlamaForCausalLM");

// About 3000 bytes of text, 23 windows of 128 tokens.
void WriteTinyText(const std::filesystem::path& file);

}  // namespace marlin
