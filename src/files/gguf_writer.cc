#include "files/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/open_file.h"
#include "files/gguf.h"
#include "files/gguf_parts.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::uint64_t kAlignment = 32;  // the default, so no key names it
constexpr std::uint32_t kVersion = 3;

std::uint64_t Padded(std::uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Status CheckReplaced(const fs::path& path, bool overwrite) {
  if (!IsListed(path)) return {};
  if (!overwrite) {
    return Error{ErrorCode::kInput, fmt::format("{} exists; use --overwrite to replace it", path.string())};
  }
  const auto file = GgufFile::Open(path);
  if (file && file->Has(kGgufProgramKey)) return {};
  return Error{ErrorCode::kInput,
               fmt::format("{} exists, and this program did not write it; remove it first", path.string())};
}

Result<GgufWriter> GgufWriter::Create(const fs::path& path, const GgufPairs& pairs, std::vector<GgufPlace> places,
                                      std::uint64_t max_part_bytes, bool overwrite) {
  GgufWriter writer;
  if (auto status = writer.TakePlaces(std::move(places)); !status) return status.error();
  writer.CutIntoParts(max_part_bytes);
  if (auto status = writer.Begin(path, pairs, overwrite); !status) return status.error();
  return writer;
}

Status GgufWriter::TakePlaces(std::vector<GgufPlace> places) {
  std::set<std::string> names;
  for (const GgufPlace& place : places) {
    if (!names.insert(place.name).second) {
      return Error{ErrorCode::kInput, fmt::format("tensor {} would be written twice", place.name)};
    }
    if (!GgmlTypeNumber(place.dtype)) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("tensor {} is {}, which GGUF does not have", place.name, Info(place.dtype).name)};
    }
    const auto bytes = ByteSize(place.dtype, place.shape, fmt::format("tensor {}", place.name));
    if (!bytes) return bytes.error();
    sizes_.push_back(*bytes);
  }
  places_ = std::move(places);
  return {};
}

void GgufWriter::CutIntoParts(std::uint64_t max_part_bytes) {
  parts_.push_back({});
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const bool fits = max_part_bytes == 0 || (used <= max_part_bytes && sizes_[i] <= max_part_bytes - used);
    if (i > parts_.back().begin && !fits) {
      parts_.push_back({i, i});
      used = 0;
    }
    parts_.back().end = i + 1;
    used += Padded(sizes_[i]);
  }
}

std::string GgufWriter::Header(std::size_t part, const GgufPairs& pairs) const {
  GgufPairs own = part == 0 ? pairs : GgufPairs();
  const auto all = pairs.View();
  if (const auto program = all.find(kGgufProgramKey); part > 0 && program != all.end()) {
    own.Set(kGgufProgramKey, std::string(std::get<std::string_view>(program->second)));
  }
  if (parts_.size() > 1) {
    own.Set("split.no", static_cast<std::uint16_t>(part));
    own.Set("split.count", static_cast<std::uint16_t>(parts_.size()));
    own.Set("split.tensors.count", static_cast<std::int32_t>(places_.size()));
  }
  const Part& tensors = parts_[part];
  std::string out = "GGUF";
  AppendGguf(kVersion, out);
  AppendGguf(std::uint64_t{tensors.end - tensors.begin}, out);
  AppendGguf(std::uint64_t{own.size()}, out);
  out += own.Bytes();
  std::uint64_t offset = 0;
  for (std::size_t i = tensors.begin; i < tensors.end; ++i) {
    const GgufPlace& place = places_[i];
    AppendGguf(place.name, out);
    AppendGguf(static_cast<std::uint32_t>(place.shape.size()), out);
    for (auto axis = place.shape.rbegin(); axis != place.shape.rend(); ++axis) AppendGguf(std::uint64_t{*axis}, out);
    AppendGguf(*GgmlTypeNumber(place.dtype), out);
    AppendGguf(offset, out);
    offset += Padded(sizes_[i]);
  }
  out.resize(Padded(out.size()), '\0');
  return out;
}

Status GgufWriter::Begin(const fs::path& path, const GgufPairs& pairs, bool overwrite) {
  constexpr std::size_t kMostParts = 99999;  // five digits
  if (parts_.size() > kMostParts) {
    return Error{ErrorCode::kUsage, fmt::format("the parts would be {}, and their names have five digits; allow larger "
                                                "parts",
                                                parts_.size())};
  }
  std::vector<std::string> headers;
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    headers.push_back(Header(part, pairs));
    bytes_ += headers.back().size();
    for (std::size_t i = parts_[part].begin; i < parts_[part].end; ++i) bytes_ += Padded(sizes_[i]);
    files_.push_back(parts_.size() == 1 ? path : GgufPartPath(path, part + 1, parts_.size()));
    if (auto status = CheckOutputFile(files_.back()); !status) return status;
    if (auto status = CheckReplaced(files_.back(), overwrite); !status) return status;
  }
  if (auto status = CheckFreeSpace(path.parent_path(), bytes_); !status) return status;
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    auto file = AtomicFile::Create(files_[part]);
    if (!file) return file.error();
    open_.push_back(*std::move(file));
    if (auto status = open_.back().Write(headers[part]); !status) return status;
  }
  return {};
}

Status GgufWriter::Pad(AtomicFile& file, std::uint64_t written) const {
  const std::string zeros(Padded(written) - written, '\0');
  return zeros.empty() ? Status() : file.Write(zeros);
}

Status GgufWriter::Write(std::span<const std::uint8_t> bytes) {
  MARLIN_CHECK(next_ < places_.size() && bytes.size() <= sizes_[next_] - written_, "bytes of the next tensor");
  while (next_ >= parts_[part_].end) ++part_;
  if (auto status = open_[part_].Write(bytes); !status) return status;
  written_ += bytes.size();
  if (written_ < sizes_[next_]) return {};
  if (auto status = Pad(open_[part_], written_); !status) return status;
  ++next_;
  written_ = 0;
  return {};
}

Status GgufWriter::Commit() {
  MARLIN_CHECK(next_ == places_.size(), "every tensor was written");
  // The first part last: a reader that finds it finds the others.
  for (std::size_t part = open_.size(); part-- > 0;) {
    if (auto status = open_[part].Commit(); !status) return status;
  }
  return {};
}

}  // namespace marlin
