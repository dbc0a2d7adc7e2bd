#include "files/safetensors_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"
#include "files/safetensors.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::size_t kHashLength = 64;

std::string Quote(const std::string& text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

// A file's length prefix and header, with zeros in place of the hashes, and the offsets of those zeros in the file.
struct Header {
  std::string text;
  std::vector<std::uint64_t> hash_offsets;
};

Header MakeHeader(std::span<const PlannedTensor> tensors, std::span<const std::size_t> bytes,
                  const std::map<std::string, std::string>& metadata) {
  Header header;
  header.text.assign(8, '\0');
  header.text += "{\"__metadata__\":{\"format\":\"pt\"";
  for (const auto& [key, value] : metadata) header.text += fmt::format(",{}:{}", Quote(key), Quote(value));
  for (const PlannedTensor& tensor : tensors) {
    header.text += fmt::format(",{}:\"", Quote(HashKey(tensor.name)));
    header.hash_offsets.push_back(header.text.size());
    header.text += std::string(kHashLength, '0') + "\"";
  }
  header.text += "}";
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    header.text +=
        fmt::format(",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", Quote(tensors[i].name),
                    Info(tensors[i].dtype).name, fmt::join(tensors[i].shape, ","), offset, offset + bytes[i]);
    offset += bytes[i];
  }
  header.text += "}";
  while (header.text.size() % 8 != 0) header.text += ' ';  // the data starts aligned
  const std::uint64_t length = header.text.size() - 8;
  for (std::size_t i = 0; i < 8; ++i) header.text[i] = static_cast<char>(length >> (8 * i));
  return header;
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::Create(const std::filesystem::path& folder,
                                                    std::vector<PlannedTensor> plan,
                                                    std::map<std::string, std::string> metadata,
                                                    std::uint64_t max_shard_bytes) {
  SafetensorsWriter writer;
  writer.folder_ = folder;
  if (auto status = writer.TakePlan(std::move(plan)); !status) return status.error();
  writer.metadata_ = std::move(metadata);
  writer.CutIntoShards(max_shard_bytes);
  if (auto status = writer.BeginShard(); !status) return status.error();
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::CreateFile(const std::filesystem::path& file,
                                                        std::vector<PlannedTensor> plan,
                                                        std::map<std::string, std::string> metadata) {
  SafetensorsWriter writer;
  writer.folder_ = file.parent_path();
  if (auto status = writer.TakePlan(std::move(plan)); !status) return status.error();
  writer.metadata_ = std::move(metadata);
  writer.shards_.push_back({file.filename().string(), 0, writer.plan_.size()});
  if (auto status = writer.BeginShard(); !status) return status.error();
  return writer;
}

Status SafetensorsWriter::TakePlan(std::vector<PlannedTensor> plan) {
  std::set<std::string_view> names;
  for (const PlannedTensor& tensor : plan) {
    MARLIN_CHECK(Info(tensor.dtype).block_elements == 1, "safetensors has no block types");
    if (!names.insert(tensor.name).second) {
      return Error{ErrorCode::kInput,
                   fmt::format("{}: tensor {} would be written twice", folder_.string(), tensor.name)};
    }
    const auto bytes = ByteSize(tensor.dtype, tensor.shape, "tensor " + tensor.name);
    if (!bytes) return bytes.error();
    bytes_.push_back(*bytes);
  }
  plan_ = std::move(plan);
  return {};
}

void SafetensorsWriter::CutIntoShards(std::uint64_t max_shard_bytes) {
  shards_.push_back({"model.safetensors", 0, 0});
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < plan_.size(); ++i) {
    const bool fits = used <= max_shard_bytes && bytes_[i] <= max_shard_bytes - used;
    if (i > shards_.back().begin && !fits) {
      shards_.push_back({"", i, i});
      used = 0;
    }
    shards_.back().end = i + 1;
    used += bytes_[i];
  }
  if (shards_.size() == 1) return;
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    shards_[s].file = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards_.size());
  }
}

Status SafetensorsWriter::BeginShard() {
  const Shard& shard = shards_[shard_];
  const std::size_t count = shard.end - shard.begin;
  Header header = MakeHeader(std::span(plan_).subspan(shard.begin, count),
                             std::span(bytes_).subspan(shard.begin, count), metadata_);
  places_.clear();
  for (const std::uint64_t offset : header.hash_offsets) places_.push_back({offset, ""});
  auto file = AtomicFile::Create(folder_ / shard.file);
  if (!file) return file.error();
  file_.emplace(std::move(*file));
  return file_->Write(header.text);
}

Status SafetensorsWriter::EndShard() {
  for (const Place& place : places_) {
    if (auto status = file_->WriteAt(place.offset, place.hash); !status) return status;
  }
  auto status = file_->Commit();
  file_.reset();
  ++shard_;
  return status;
}

Status SafetensorsWriter::Write(std::string_view name, std::span<const std::uint8_t> bytes) {
  MARLIN_CHECK(next_ < plan_.size() && plan_[next_].name == name, "tensors are written in the order of the plan");
  MARLIN_CHECK(bytes.size() == bytes_[next_], "bytes of the tensor");
  if (next_ == shards_[shard_].end) {
    if (auto status = EndShard(); !status) return status;
    if (auto status = BeginShard(); !status) return status;
  }
  if (auto status = file_->Write(bytes); !status) return status;
  places_[next_ - shards_[shard_].begin].hash = Sha256Hex(bytes);
  ++next_;
  return {};
}

Status SafetensorsWriter::Commit() {
  MARLIN_CHECK(next_ == plan_.size(), "every tensor of the plan was written");
  if (auto status = EndShard(); !status) return status;
  return shards_.size() > 1 ? WriteIndex() : Status();
}

Status SafetensorsWriter::WriteIndex() const {
  json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", json::object()}};
  std::uint64_t total = 0;
  for (const Shard& shard : shards_) {
    for (std::size_t i = shard.begin; i < shard.end; ++i) {
      index["weight_map"][plan_[i].name] = shard.file;
      total += bytes_[i];
    }
  }
  index["metadata"]["total_size"] = total;
  return WriteFileAtomic(folder_ / "model.safetensors.index.json",
                         index.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace marlin
