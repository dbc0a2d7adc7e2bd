// Writes GGUF files (version 3) piece by piece: one file, or several parts as llama.cpp's gguf-split names them. gguf.h
// pictures the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "files/gguf_pairs.h"
#include "files/tensor.h"

namespace marlin {

// A tensor of the file, before its bytes are known.
struct GgufPlace {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::size_t> shape;  // slowest axis first
};

// Which program wrote the file; in each of its parts.
inline constexpr const char* kGgufProgramKey = "metal_marlin.program";

// Refuses to write where a file is that `overwrite` does not allow to replace: with it, files that this program wrote.
// Errors: kInput.
Status CheckReplaced(const std::filesystem::path& path, bool overwrite);

// Everything but the bytes of the tensors is said beforehand. Nothing is kept in memory but that. The files appear
// when all of them are complete; an abandoned writer leaves nothing behind.
class GgufWriter {
 public:
  // Writes `path`, or, where the tensors have more than max_part_bytes (0: no limit), "NAME-00001-of-00003.gguf", ...
  // beside it. Tensors are never split; the first part has the metadata. Errors: kInput (a name twice, an impossible
  // shape, a file that may not be replaced, a place that cannot be written), kUnsupported (a type that GGUF does not
  // have), kResource (the disk is too small, asked before the first byte; a disk that is full).
  static Result<GgufWriter> Create(const std::filesystem::path& path, const GgufPairs& pairs,
                                   std::vector<GgufPlace> places, std::uint64_t max_part_bytes, bool overwrite);

  // The next bytes of the tensors, one after the other in the order of the plan. No piece spans two tensors.
  Status Write(std::span<const std::uint8_t> bytes);
  // After the last byte.
  Status Commit();

  const std::vector<std::filesystem::path>& files() const { return files_; }
  std::uint64_t bytes() const { return bytes_; }  // of all files

 private:
  struct Part {
    std::size_t begin = 0, end = 0;  // tensors
  };

  GgufWriter() = default;
  Status TakePlaces(std::vector<GgufPlace> places);
  void CutIntoParts(std::uint64_t max_part_bytes);
  std::string Header(std::size_t part, const GgufPairs& pairs) const;
  // Opens every part and writes its header.
  Status Begin(const std::filesystem::path& path, const GgufPairs& pairs, bool overwrite);
  Status Pad(AtomicFile& file, std::uint64_t written) const;

  std::vector<GgufPlace> places_;
  std::vector<std::uint64_t> sizes_;  // of the tensors, in bytes
  std::vector<Part> parts_;
  std::vector<std::filesystem::path> files_;
  std::vector<AtomicFile> open_;
  std::uint64_t bytes_ = 0;
  std::size_t part_ = 0;       // being written
  std::size_t next_ = 0;       // tensor
  std::uint64_t written_ = 0;  // of it
};

}  // namespace marlin
