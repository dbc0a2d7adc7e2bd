#include "files/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "files/json_text.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

Error Bad(const MappedFile& file, const std::string& what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", file.path().string(), what)};
}

// A tensor of the header and where its data lies.
struct Entry {
  Tensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

bool IsSizeList(const json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_number_unsigned(); });
}

Result<Entry> ParseEntry(const MappedFile& file, const std::string& name, const json& value) {
  const std::string what = "tensor " + name;
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !IsSizeList(value["shape"]) || !value.contains("data_offsets") || !IsSizeList(value["data_offsets"]) ||
      value["data_offsets"].size() != 2) {
    return Bad(file, what + " is described wrongly; want \"dtype\", \"shape\" and two \"data_offsets\", none negative");
  }
  const auto& dtype = value["dtype"].get_ref<const std::string&>();
  const DTypeInfo* info = FindDType(dtype);
  if (info == nullptr || info->block_elements != 1) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: {} has the type {}, which this program does not read",
                                                      file.path().string(), what, dtype)};
  }
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.dtype = info->dtype;
  entry.tensor.shape = value["shape"].get<std::vector<std::size_t>>();
  entry.begin = value["data_offsets"][0].get<std::uint64_t>();
  entry.end = value["data_offsets"][1].get<std::uint64_t>();
  const auto bytes = ByteSize(info->dtype, entry.tensor.shape, what);
  if (!bytes) return Bad(file, bytes.error().message);
  if (entry.end < entry.begin || entry.end - entry.begin != *bytes) {
    return Bad(file, fmt::format("{} has data offsets {} to {}, want {} bytes for {} [{}]", what, entry.begin,
                                 entry.end, *bytes, dtype, fmt::join(entry.tensor.shape, ", ")));
  }
  return entry;
}

Status ParseMetadata(const MappedFile& file, const json& value, std::map<std::string, std::string>& metadata) {
  if (!value.is_object()) return Bad(file, "\"__metadata__\" is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) return Bad(file, fmt::format("\"__metadata__\": \"{}\" is not a string", key));
    metadata[key] = text.get<std::string>();
  }
  return {};
}

// Gives every tensor its bytes: back to back, from the first to the last byte of the data.
Status PlaceTensors(const MappedFile& file, std::span<const std::uint8_t> data, std::vector<Entry>& entries) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  std::uint64_t position = 0;
  for (Entry& entry : entries) {
    if (entry.begin != position) {
      return Bad(file,
                 fmt::format("tensor {} begins at byte {} of the data where the one before ends at {}; tensors must "
                             "neither overlap nor leave holes",
                             entry.tensor.name, entry.begin, position));
    }
    if (entry.end > data.size()) {
      return Bad(file,
                 fmt::format("tensor {} ends at byte {} of the data, which has {}; the file is truncated, download it "
                             "again",
                             entry.tensor.name, entry.end, data.size()));
    }
    position = entry.end;
    entry.tensor.bytes =
        data.subspan(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(entry.end - entry.begin));
  }
  if (position != data.size()) {
    return Bad(file, fmt::format("{} bytes follow the last tensor", data.size() - position));
  }
  return {};
}

}  // namespace

std::string HashKey(std::string_view tensor_name) { return fmt::format("sha256:{}", tensor_name); }

Result<SafetensorsFile> OpenSafetensors(const std::filesystem::path& path) {
  auto mapped = MappedFile::Open(path);
  if (!mapped) return mapped.error();
  SafetensorsFile out{std::move(*mapped), {}, {}, {}};
  const auto bytes = out.file.bytes();
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) return Bad(out.file, "too short for a safetensors file; download it again");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeader || header_bytes > bytes.size() - sizeof(header_bytes)) {
    return Bad(out.file, fmt::format("the header should have {} bytes but the file has {}; it is truncated or not a "
                                     "safetensors file",
                                     header_bytes, bytes.size()));
  }
  const auto text = bytes.subspan(sizeof(header_bytes), static_cast<std::size_t>(header_bytes));
  const auto header = ParseJson({reinterpret_cast<const char*>(text.data()), text.size()}, path.string() + " (header)");
  if (!header) return header.error();
  if (!header->is_object()) return Bad(out.file, "the header is not a JSON object");

  std::vector<Entry> entries;
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      if (auto status = ParseMetadata(out.file, value, out.metadata); !status) return status.error();
      continue;
    }
    auto entry = ParseEntry(out.file, name, value);
    if (!entry) return entry.error();
    entries.push_back(std::move(*entry));
  }
  const auto data = bytes.subspan(sizeof(header_bytes) + static_cast<std::size_t>(header_bytes));
  if (auto status = PlaceTensors(out.file, data, entries); !status) return status.error();
  for (Entry& entry : entries) {
    out.index.emplace(entry.tensor.name, out.tensors.size());
    out.tensors.push_back(std::move(entry.tensor));
  }
  return out;
}

const Tensor* FindTensor(const SafetensorsFile& file, std::string_view name) {
  const auto found = file.index.find(std::string(name));
  return found == file.index.end() ? nullptr : &file.tensors[found->second];
}

bool MatchesHash(const SafetensorsFile& file, const Tensor& tensor) {
  const auto recorded = file.metadata.find(HashKey(tensor.name));
  return recorded != file.metadata.end() && recorded->second == Sha256Hex(tensor.bytes);
}

}  // namespace marlin
