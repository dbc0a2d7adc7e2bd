// A file of final hidden states. With it a baseline runs once and is compared with many models:
//
//   0      header: kHiddenStatesHeader bytes of text, JSON with what the states belong to, padded with spaces
//   ...    per window: [ctx, hidden] fp32 little-endian, then the 64 hexadecimal digits of their SHA-256
//
// The file is written atomically. A file of other inputs, or a truncated or damaged file, is never used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/file.h"
#include "base/mapped_file.h"
#include "base/result.h"

namespace marlin {

inline constexpr std::size_t kHiddenStatesHeader = 1024;

// Everything that determines the states. Equal keys mean bit-identical states.
struct HiddenStatesId {
  std::string model_sha256;
  std::string tokenizer_sha256;
  std::string text_sha256;
  std::string arithmetic;  // Device::arithmetic of what computes them
  std::size_t ctx = 0;
  std::size_t windows = 0;
  std::size_t hidden = 0;
};

// Bytes of the file.
std::uint64_t HiddenStatesBytes(const HiddenStatesId& id);

class HiddenStatesWriter {
 public:
  // Errors: as AtomicFile.
  static Result<HiddenStatesWriter> Create(const std::filesystem::path& path, const HiddenStatesId& id);
  // The next window, [ctx, hidden].
  Status Add(std::span<const float> hidden);
  // After the last window.
  Status Commit();

 private:
  HiddenStatesWriter(AtomicFile file, std::size_t missing) : file_(std::move(file)), missing_(missing) {}
  AtomicFile file_;
  std::size_t missing_;  // windows
};

class HiddenStatesReader {
 public:
  // Errors: kInput (missing; of another model, text or arithmetic; cut off): make it again.
  static Result<HiddenStatesReader> Open(const std::filesystem::path& path, const HiddenStatesId& id);
  // Fills [ctx, hidden]. Errors: kCorrupt (the window's bytes do not match their hash).
  Status Read(std::size_t window, std::span<float> hidden) const;

 private:
  explicit HiddenStatesReader(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
};

}  // namespace marlin
