// For tests only: a temporary folder, and model files built byte by byte.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/gguf.h"

namespace marlin {

// A fresh folder per test.
class TemporaryFolder : public testing::Test {
 protected:
  void SetUp() override {
    static std::atomic<int> count{0};
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("marlin_files_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A new file each time: some file systems wait for the disk when an old one is shortened and written again.
  std::filesystem::path Write(const std::string& name, std::string_view bytes) const {
    std::filesystem::remove(folder_ / name);
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

inline std::string Slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A number as it lies in a file.
template <class T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// A GGUF file, written as the caller says, sense or nonsense.
class GgufBuilder {
 public:
  static std::string String(std::string_view text) { return Raw<std::uint64_t>(text.size()) + std::string(text); }

  // A value with its type before it.
  GgufBuilder& Pair(std::string_view key, GgufType type, const std::string& value) {
    pairs_ += String(key) + Raw(static_cast<std::uint32_t>(type)) + value;
    ++pair_count;
    return *this;
  }
  GgufBuilder& Text(std::string_view key, std::string_view value) {
    return Pair(key, GgufType::kString, String(value));
  }
  GgufBuilder& U32(std::string_view key, std::uint32_t value) { return Pair(key, GgufType::kU32, Raw(value)); }
  GgufBuilder& F32(std::string_view key, float value) { return Pair(key, GgufType::kF32, Raw(value)); }
  GgufBuilder& Array(std::string_view key, GgufType type, std::uint64_t count, const std::string& values) {
    return Pair(key, GgufType::kArray, Raw(static_cast<std::uint32_t>(type)) + Raw(count) + values);
  }

  // dims fastest first, as GGUF has them.
  GgufBuilder& Entry(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                     std::uint64_t offset) {
    entries_ += String(name) + Raw(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) entries_ += Raw(dim);
    entries_ += Raw(type) + Raw(offset);
    ++tensor_count;
    return *this;
  }
  // An entry whose data follows the data before it.
  GgufBuilder& Tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                      const std::string& bytes) {
    Entry(name, dims, type, data_.size());
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32);
    return *this;
  }
  GgufBuilder& Floats(std::string_view name, const std::vector<std::uint64_t>& dims, const std::vector<float>& values) {
    return Tensor(name, dims, 0, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  }

  std::string Bytes() const {
    std::string bytes = "GGUF" + Raw(version) + Raw(tensor_count) + Raw(pair_count) + pairs_ + entries_;
    bytes.resize((bytes.size() + 31) / 32 * 32);
    return bytes + data_;
  }

  std::uint32_t version = 3;
  std::uint64_t tensor_count = 0;
  std::uint64_t pair_count = 0;

 private:
  std::string pairs_;
  std::string entries_;
  std::string data_;
};

}  // namespace marlin
