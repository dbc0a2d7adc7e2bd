#include "files/verify_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/half.h"
#include "base/mapped_file.h"
#include "base/open_file.h"
#include "base/sha256.h"
#include "files/checkpoint.h"
#include "files/quantized_layout.h"
#include "files/safetensors.h"
#include "files/sums_file.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 23;  // bytes hashed between two reports

// Files that affect numbers must be in the list; other files, such as notes, may be in the folder.
bool MustBeCovered(const std::string& name) { return name.ends_with(".safetensors") || name.ends_with(".json"); }

// Counts bytes for the progress report.
class Meter {
 public:
  Meter(const ProgressFn& progress, std::uint64_t total)
      : progress_(progress), state_{"verify", 0, total, "bytes", ""} {}
  // Errors: kInterrupted.
  Status Add(std::size_t bytes, const std::string& note) {
    state_.done += bytes;
    state_.note = note;
    if (progress_) progress_(state_);
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while verifying"};
    return {};
  }
  std::uint64_t bytes() const { return state_.done; }

 private:
  const ProgressFn& progress_;
  Progress state_;
};

Result<std::string> HashFile(const MappedFile& file, Meter& meter) {
  Sha256 hash;
  const auto bytes = file.bytes();
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    const auto piece = bytes.subspan(begin, std::min(kPiece, bytes.size() - begin));
    hash.Update(piece);
    file.Forget(piece);
    if (auto status = meter.Add(piece.size(), file.path().filename().string()); !status) return status.error();
  }
  return hash.HexDigest();
}

// Every tensor against the hash recorded beside it.
Status CheckTensorHashes(const SafetensorsFile& file) {
  for (const Tensor& tensor : file.tensors) {
    const auto recorded = file.metadata.find(HashKey(tensor.name));
    if (recorded == file.metadata.end()) {
      return Damaged(file.file.path(), fmt::format("tensor {} has no recorded hash", tensor.name));
    }
    if (recorded->second != Sha256Hex(tensor.bytes)) {
      return Damaged(file.file.path(), fmt::format("tensor {} does not match its recorded hash", tensor.name));
    }
    file.file.Forget(tensor.bytes);
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while verifying"};
  }
  return {};
}

// The hash of the whole file is wrong: says which tensor, if one can be found.
Error DescribeDamage(const fs::path& path) {
  if (path.extension() == ".safetensors") {
    const auto file = OpenSafetensors(path);
    if (!file) return Damaged(path, "does not match its hash in SHA256SUMS (" + file.error().message + ")");
    if (auto status = CheckTensorHashes(*file); !status) return status.error();
    return Damaged(path, "its header does not match its hash in SHA256SUMS (all tensors do)");
  }
  return Damaged(path, "does not match its hash in SHA256SUMS");
}

Status CheckScales(const SafetensorsFile& file) {
  for (const Tensor& tensor : file.tensors) {
    const bool of_groups = std::ranges::any_of(std::array{kScaleSuffix, kBiasSuffix, kUnitSuffix},
                                               [&](auto suffix) { return tensor.name.ends_with(suffix); });
    if (!of_groups || tensor.dtype != DType::kF16) continue;
    for (std::size_t i = 0; i < tensor.elements(); ++i) {
      const auto bits = static_cast<std::uint16_t>(tensor.bytes[2 * i] | tensor.bytes[2 * i + 1] << 8);
      if (std::isfinite(HalfToFloat(bits))) continue;
      return Error{ErrorCode::kNumerical, fmt::format("{}: element {} of tensor {} is {}, want a finite scale",
                                                      file.file.path().string(), i, tensor.name, HalfToFloat(bits))};
    }
  }
  return {};
}

// Why there is no SHA256SUMS at this path.
Error NothingToCheck(const fs::path& path) {
  const std::string name = path.string();
  const auto kind = KindOf(path);
  if (!kind) return kind.error();
  if (*kind == PathKind::kFolder) {
    return {ErrorCode::kInput,
            fmt::format("{} has no {} and cannot be verified: quantize was interrupted before the folder was finished, "
                        "or another program made it",
                        name, kSumsFile)};
  }
  const auto target = NameOfNewFolder(path);  // without a slash behind it
  if (fs::path begun = target ? *target : path; *kind == PathKind::kNothing && IsListed(begun += ".part")) {
    return {
        ErrorCode::kInput,
        fmt::format(
            "{}: no such folder yet; quantize was interrupted, and continues from {} when the same command is repeated",
            name, begun.string())};
  }
  if (*kind == PathKind::kNothing) {
    return {ErrorCode::kInput, fmt::format("{}: no such folder; want one made by quantize, or {}", name, kPulledModel)};
  }
  const auto file = MappedFile::Open(path);
  if (!file) return file.error();
  constexpr std::string_view kMagic = "GGUF";
  if (file->bytes().size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), file->bytes().begin())) {
    return {
        ErrorCode::kInput,
        fmt::format("{} is a GGUF file, which carries no hashes of this program; compare its sha256sum with the one "
                    "its publisher gives, or check that it is whole with: metal-marlin inspect {}",
                    name, name)};
  }
  return {ErrorCode::kInput, fmt::format("{} is a file; want a folder made by quantize", name)};
}

Result<FileHashes> SumsOf(const fs::path& folder) {
  const fs::path path = folder / kSumsFile;
  if (!IsListed(path)) return NothingToCheck(folder);
  auto sums = ReadSums(folder);
  if (!sums) return sums.error();
  if (!sums->contains("config.json")) return Damaged(path, "config.json is not in the list");
  const auto present = ListFiles(folder);
  if (!present) return present.error();
  for (const std::string& name : *present) {
    if (MustBeCovered(name) && !sums->contains(name)) return Damaged(path, fmt::format("{} is not in the list", name));
  }
  for (const auto& [name, hash] : *sums) {
    if (!std::binary_search(present->begin(), present->end(), name)) {
      return Damaged(path, fmt::format("{} is in the list but not in the folder", name));
    }
  }
  return sums;
}

std::uint64_t TotalBytes(const fs::path& folder, const FileHashes& sums) {
  std::uint64_t total = 0;
  for (const auto& [name, hash] : sums) {
    std::error_code code;
    const auto size = fs::file_size(folder / name, code);
    if (!code) total += size;
  }
  return total;
}

}  // namespace

Result<VerifiedFolder> VerifyFolder(const fs::path& path, const ProgressFn& progress) {
  const auto sums = SumsOf(path);
  if (!sums) return sums.error();
  Meter meter(progress, TotalBytes(path, *sums));
  for (const auto& [name, hash] : *sums) {
    const auto mapped = MappedFile::Open(path / name);
    if (!mapped) return mapped.error();
    const auto found = HashFile(*mapped, meter);
    if (!found) return found.error();
    if (*found != hash) return DescribeDamage(path / name);
    if (!name.ends_with(".safetensors")) continue;
    const auto file = OpenSafetensors(path / name);
    if (!file) return file.error();
    if (auto status = CheckTensorHashes(*file); !status) return status.error();
    if (auto status = CheckScales(*file); !status) return status.error();
  }
  return VerifiedFolder{sums->size(), meter.bytes()};
}

}  // namespace marlin
