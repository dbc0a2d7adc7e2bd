#include "tests/tiny_gguf.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "text/byte_alphabet.h"

namespace marlin {
namespace {

template <class T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string Text(std::string_view text) { return Raw<std::uint64_t>(text.size()) + std::string(text); }

// Type numbers of metadata values and of tensors, as GGUF defines them.
enum : std::uint32_t { kU32 = 4, kFloat = 6, kString = 8, kArray = 9 };
enum : std::uint32_t { kF32 = 0, kIQ4NL = 20 };

class Writer {
 public:
  void Pair(std::string_view key, std::uint32_t type, const std::string& value) {
    pairs_ += Text(key) + Raw(type) + value;
    ++pair_count_;
  }
  // Columns are the fastest axis; rows = 0 makes a vector.
  void Tensor(std::string_view name, std::uint64_t cols, std::uint64_t rows, std::uint32_t type,
              const std::string& bytes) {
    entries_ += Text(name) + Raw<std::uint32_t>(rows == 0 ? 1 : 2) + Raw(cols) + (rows == 0 ? "" : Raw(rows));
    entries_ += Raw(type) + Raw<std::uint64_t>(data_.size());
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
  }
  std::string Bytes() const {
    std::string bytes = "GGUF" + Raw<std::uint32_t>(3) + Raw(tensor_count_) + Raw(pair_count_) + pairs_ + entries_;
    bytes.resize((bytes.size() + 31) / 32 * 32);
    return bytes + data_;
  }

 private:
  std::uint64_t tensor_count_ = 0, pair_count_ = 0;
  std::string pairs_, entries_, data_;
};

std::string Floats(std::size_t count, double centre, double spread, Rng& rng) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += Raw(static_cast<float>(centre + spread * rng.Normal()));
  return bytes;
}

// A scale of about 1/600 takes the largest level, 127, to 0.2.
std::string Blocks(std::size_t weights, Rng& rng) {
  std::string bytes;
  for (std::size_t block = 0; block < weights / 32; ++block) {
    bytes += Raw(FloatToHalf(static_cast<float>(0.0016 + 0.0001 * rng.Normal())));
    for (int i = 0; i < 16; ++i) bytes += static_cast<char>(rng.Below(256));
  }
  return bytes;
}

void AddMetadata(Writer& writer) {
  writer.Pair("general.architecture", kString, Text("llama"));
  const std::vector<std::pair<std::string_view, std::uint32_t>> numbers = {
      {"llama.embedding_length", 64}, {"llama.feed_forward_length", 96}, {"llama.block_count", 1},
      {"llama.context_length", 2048}, {"llama.attention.head_count", 2}, {"llama.attention.head_count_kv", 2},
      {"llama.vocab_size", 256}};
  for (const auto& [key, value] : numbers) writer.Pair(key, kU32, Raw(value));
  writer.Pair("llama.attention.layer_norm_rms_epsilon", kFloat, Raw(1e-5f));
  writer.Pair("tokenizer.ggml.model", kString, Text("gpt2"));
  writer.Pair("tokenizer.ggml.pre", kString, Text("gpt-2"));
  std::string tokens = Raw<std::uint32_t>(kString) + Raw<std::uint64_t>(256);
  for (int byte = 0; byte < 256; ++byte) tokens += Text(ToByteAlphabet(std::string(1, static_cast<char>(byte))));
  writer.Pair("tokenizer.ggml.tokens", kArray, tokens);
  writer.Pair("tokenizer.ggml.merges", kArray, Raw<std::uint32_t>(kString) + Raw<std::uint64_t>(0));
}

}  // namespace

void WriteTinyGguf(const std::filesystem::path& file, const std::vector<std::string>& biases) {
  Writer writer;
  AddMetadata(writer);
  Rng rng(5);
  writer.Tensor("token_embd.weight", 64, 256, kF32, Floats(std::size_t{64} * 256, 0, 0.15, rng));
  for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"}) {
    writer.Tensor(name, 64, 0, kF32, Floats(64, 1, 0.1, rng));
  }
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
    writer.Tensor("blk.0." + std::string(name) + ".weight", 64, 64, kIQ4NL, Blocks(64 * 64, rng));
  }
  writer.Tensor("blk.0.ffn_gate.weight", 64, 96, kIQ4NL, Blocks(64 * 96, rng));
  writer.Tensor("blk.0.ffn_up.weight", 64, 96, kIQ4NL, Blocks(64 * 96, rng));
  writer.Tensor("blk.0.ffn_down.weight", 96, 64, kIQ4NL, Blocks(64 * 96, rng));
  for (const std::string& layer : biases) {
    const std::size_t rows = layer == "ffn_gate" || layer == "ffn_up" ? 96 : 64;
    writer.Tensor("blk.0." + layer + ".bias", rows, 0, kF32, Floats(rows, 0, 0.5, rng));
  }
  MARLIN_CHECK(WriteFileAtomic(file, writer.Bytes()).ok(), "the tiny GGUF");
}

}  // namespace marlin
