#include "quantize/layer_store.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/temporary.h"
#include "files/safetensors.h"
#include "files/safetensors_writer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kFilePrefix = "layer-";
constexpr std::string_view kFileSuffix = ".safetensors";

// "model.layers.3.mlp.down_proj.fp4-g128.codes"
std::string PartName(const std::string& name, const FormatRow& format, const EncodedPart& part) {
  return fmt::format("{}.{}.{}", name, format.info.name, part.name);
}

bool ReadPart(const SafetensorsFile& file, const std::string& name, std::vector<std::uint8_t>& bytes) {
  if (bytes.empty()) return true;
  const Tensor* tensor = FindTensor(file, name);
  if (tensor == nullptr || tensor->bytes.size() != bytes.size() || !MatchesHash(file, *tensor)) return false;
  std::memcpy(bytes.data(), tensor->bytes.data(), bytes.size());
  return true;
}

}  // namespace

fs::path LayerStore::File(std::size_t layer) const {
  return folder_ / fmt::format("{}{:05}{}", kFilePrefix, layer, kFileSuffix);
}

Status LayerStore::Save(std::size_t layer, const EncodedLayer& matrices) const {
  std::error_code code;
  fs::create_directories(folder_, code);
  if (code) return Error{ErrorCode::kInput, fmt::format("cannot make {}: {}", folder_.string(), code.message())};
  std::vector<PlannedTensor> plan;
  for (const auto& [name, matrix] : matrices) {
    for (const EncodedPart& part : kEncodedParts) {
      if ((matrix.*part.owned).empty()) continue;
      plan.push_back({PartName(name, *matrix.format, part), DType::kU8, {(matrix.*part.owned).size()}});
    }
  }
  auto writer =
      SafetensorsWriter::CreateFile(File(layer), std::move(plan), {{"key", key_}, {"arithmetic", arithmetic_}});
  if (!writer) return writer.error();
  for (const auto& [name, matrix] : matrices) {
    for (const EncodedPart& part : kEncodedParts) {
      if ((matrix.*part.owned).empty()) continue;
      if (auto status = writer->Write(PartName(name, *matrix.format, part), matrix.*part.owned); !status) return status;
    }
  }
  return writer->Commit();
}

Result<std::optional<EncodedLayer>> LayerStore::Load(std::size_t layer,
                                                     const std::map<std::string, MatrixShape>& shapes) const {
  const std::optional<EncodedLayer> none;
  std::error_code code;
  if (!fs::exists(File(layer), code)) return none;
  const auto file = OpenSafetensors(File(layer));
  if (!file) return none;
  const auto said = [&](const char* name) {
    const auto found = file->metadata.find(name);
    return found == file->metadata.end() ? std::string() : found->second;
  };
  if (said("key") != key_) return none;
  if (const std::string other = said("arithmetic"); other != arithmetic_) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} was made with the arithmetic \"{}\", this run has \"{}\"; continue on such a machine "
                             "or with its --isa, or delete {}",
                             File(layer).string(), other, arithmetic_, folder_.string())};
  }
  EncodedLayer matrices;
  for (const auto& [name, shape] : shapes) {
    EncodedMatrix matrix(*shape.format, shape.rows, shape.cols);
    for (const EncodedPart& part : kEncodedParts) {
      if (!ReadPart(*file, PartName(name, *shape.format, part), matrix.*part.owned)) return none;
    }
    matrices.emplace(name, std::move(matrix));
  }
  return std::optional(std::move(matrices));
}

void LayerStore::Remove() const {
  RemoveLeftovers(folder_);
  std::vector<fs::path> ours;
  std::error_code code;
  for (fs::directory_iterator it(folder_, code); !code && it != fs::directory_iterator(); it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kFilePrefix) && name.ends_with(kFileSuffix)) ours.push_back(it->path());
  }
  for (const fs::path& file : ours) fs::remove(file, code);
  fs::remove(folder_, code);  // fails where something of another kind lies in it
}

}  // namespace marlin
