// Writes safetensors files tensor by tensor: one file, or several with an index if one would be too large.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "files/tensor.h"

namespace marlin {

struct PlannedTensor {
  std::string name;
  DType dtype = DType::kF16;  // not a block type
  std::vector<std::size_t> shape;
};

// Everything but the bytes is said beforehand, so that the header, whose length depends on it, can be written first;
// the SHA-256 of every tensor has a place there (HashKey, in "__metadata__") and is filled in afterwards. Nothing is
// kept in memory but the plan. Files appear when they are complete; an abandoned writer leaves the file begun last
// unseen.
class SafetensorsWriter {
 public:
  static constexpr std::uint64_t kDefaultShardBytes = 5'000'000'000;

  // Writes "model.safetensors" into the existing folder, or "model-00001-of-00003.safetensors", ... and
  // "model.safetensors.index.json" when the tensors have more than max_shard_bytes. Tensors are never split.
  // Errors: kInput (a name twice, an impossible shape, a folder that cannot be written), kResource (disk full).
  static Result<SafetensorsWriter> Create(const std::filesystem::path& folder, std::vector<PlannedTensor> plan,
                                          std::map<std::string, std::string> metadata = {},
                                          std::uint64_t max_shard_bytes = kDefaultShardBytes);

  // One file of this name, whatever its size. Errors: as Create.
  static Result<SafetensorsWriter> CreateFile(const std::filesystem::path& file, std::vector<PlannedTensor> plan,
                                              std::map<std::string, std::string> metadata = {});

  // The next tensor of the plan, whole. Errors: kInput, kResource.
  Status Write(std::string_view name, std::span<const std::uint8_t> bytes);
  // After the last tensor. Errors: kInput, kResource.
  Status Commit();

 private:
  struct Shard {
    std::string file;
    std::size_t begin = 0;  // tensors of the plan
    std::size_t end = 0;
  };
  // A hash and the place in the file that waits for it.
  struct Place {
    std::uint64_t offset = 0;
    std::string hash;
  };

  SafetensorsWriter() = default;
  Status TakePlan(std::vector<PlannedTensor> plan);
  void CutIntoShards(std::uint64_t max_shard_bytes);
  Status BeginShard();
  Status EndShard();
  Status WriteIndex() const;

  std::filesystem::path folder_;
  std::vector<PlannedTensor> plan_;
  std::vector<std::size_t> bytes_;  // of every tensor
  std::map<std::string, std::string> metadata_;
  std::vector<Shard> shards_;
  std::size_t shard_ = 0;  // being written
  std::size_t next_ = 0;   // tensor of the plan
  std::optional<AtomicFile> file_;
  std::vector<Place> places_;  // of the shard
};

}  // namespace marlin
