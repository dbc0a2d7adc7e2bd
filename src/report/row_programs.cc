#include "report/row_programs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "formats/encoded_matrix.h"
#include "formats/formats.h"

namespace marlin {
namespace {

std::uint64_t BitsOfGroup(const FormatInfo& info) {
  return static_cast<std::uint64_t>(info.code_bits) * static_cast<std::uint64_t>(info.group) +
         static_cast<std::uint64_t>(info.scale_bits + info.zero_point_bits + info.bias_bits);
}

bool SizeShowsGroups(const FormatInfo& info) { return HasGroups(info) && info.unit_scope == UnitScope::kNone; }

// Of a large matrix in whole groups and blocks.
double BitsPerWeight(const FormatInfo& info) {
  constexpr std::size_t kSide = 4096;
  return 8.0 * static_cast<double>(SizeOfEncoded(info, kSide, kSide).total()) / (kSide * kSide);
}

// In rows whose last group may be short unless they are `whole`.
bool HoldsAll(const Runtime& runtime, std::span<const BytesOfFormat> parts, bool whole) {
  return std::ranges::all_of(parts, [&](const BytesOfFormat& part) {
    const FormatInfo& info = FindFormat(part.format)->info;
    const HeldFormat* const stored = FindHeld(runtime, info);
    return stored != nullptr && (whole || BlockOf(*stored, info) < static_cast<std::size_t>(info.group));
  });
}

// Of all parts in the files of a runtime that holds them; 0 where they are no larger there.
double BitsInFiles(const Runtime& runtime, std::span<const BytesOfFormat> parts) {
  bool larger = false;
  double bits = 0, weights = 0;
  for (const BytesOfFormat& part : parts) {
    const FormatInfo& info = FindFormat(part.format)->info;
    const double own = BitsPerWeight(info), stored = FindHeld(runtime, info)->bits;
    const double part_weights = 8 * static_cast<double>(part.bytes) / own;
    larger = larger || stored > 0;
    weights += part_weights;
    bits += part_weights * (stored > 0 ? stored : own);
  }
  return larger ? bits / weights : 0;
}

// The block of a runtime's files that is longer than the groups of a part; 1 where there is none.
std::size_t LongestBlock(const Runtime& runtime, std::span<const BytesOfFormat> parts) {
  std::size_t longest = 1;
  for (const BytesOfFormat& part : parts) {
    const FormatInfo& info = FindFormat(part.format)->info;
    const std::size_t block = FindHeld(runtime, info)->block;
    if (block > static_cast<std::size_t>(info.group)) longest = std::max(longest, block);
  }
  return longest;
}

// Whether another row of the same tensors shows that not all of their rows are multiples of this.
bool RowsHaveOtherLengths(const ResultGroup& group, const Record& record, std::size_t multiple) {
  return std::ranges::any_of(group.rows, [&](const ResultRow& other) {
    const Record& x = other.record();
    if (x.config.kind != record::Kind::kUniform) return false;
    if (x.size.quantized_parameters != record.size.quantized_parameters) return false;
    const FormatRow* const format = FindFormat(x.config.id);
    return format != nullptr && HasGroups(format->info) && static_cast<std::size_t>(format->info.group) == multiple &&
           !GroupsAreWhole(QuantizedParts(x), x.size.quantized_parameters);
  });
}

}  // namespace

std::vector<BytesOfFormat> QuantizedParts(const Record& record) {
  const record::Config& config = record.config;
  if (config.kind == record::Kind::kUniform) return {{config.id, record.size.quantized_tensor_bytes}};
  // A plan names units of the blocks alone.
  if (config.kind != record::Kind::kMixed || !record.plan || config.quantized_embeddings || config.quantized_head) {
    return {};
  }
  std::map<std::string_view, std::uint64_t> bytes;
  for (const record::PlanUnit& unit : record.plan->units) {
    if (unit.format != record::kKeptUnit) bytes[unit.format] += unit.bytes;
  }
  std::vector<BytesOfFormat> parts;
  for (const auto& [format, sum] : bytes) parts.push_back({format, sum});
  return parts;
}

bool GroupsAreWhole(std::span<const BytesOfFormat> parts, std::uint64_t parameters) {
  double weights = 0;
  for (const BytesOfFormat& part : parts) {
    const FormatRow* const format = FindFormat(part.format);
    if (format == nullptr || !SizeShowsGroups(format->info)) return true;
    weights +=
        8.0 * static_cast<double>(part.bytes) * format->info.group / static_cast<double>(BitsOfGroup(format->info));
  }
  // Short groups add 5e-5 or more, zero points of matrices with few rows much less.
  return weights <= static_cast<double>(parameters) * (1 + 1e-5);
}

std::optional<Runtimes> RuntimesOf(std::span<const BytesOfFormat> parts, std::uint64_t parameters) {
  const auto known = [](const BytesOfFormat& part) {
    const FormatRow* const format = FindFormat(part.format);
    return format != nullptr && HasGroups(format->info);
  };
  if (parts.empty() || !std::ranges::all_of(parts, known)) return std::nullopt;
  const bool whole = GroupsAreWhole(parts, parameters);
  Runtimes runtimes;
  for (const Runtime& runtime : kRuntimes) {
    if (HoldsAll(runtime, parts, whole)) runtimes.push_back({&runtime, BitsInFiles(runtime, parts)});
  }
  return runtimes;
}

std::optional<Runtimes> RuntimesOf(const ResultGroup& group, const ResultRow& row) {
  const Record& record = row.record();
  const std::vector<BytesOfFormat> parts = QuantizedParts(record);
  auto runtimes = RuntimesOf(parts, record.size.quantized_parameters);
  if (!runtimes) return runtimes;
  std::erase_if(*runtimes, [&](const RowRuntime& in) {
    const Runtime& runtime = *in.runtime;
    if (record.config.quantized_embeddings && !runtime.embeddings) return true;
    const std::size_t multiple = std::max(runtime.row_multiple, LongestBlock(runtime, parts));
    return multiple > 1 && RowsHaveOtherLengths(group, record, multiple);
  });
  return runtimes;
}

std::string ProgramsText(const std::optional<Runtimes>& runtimes) {
  if (!runtimes) return "";
  if (runtimes->empty()) return kThisProgramOnly;
  std::string text;
  for (const RowRuntime& row : *runtimes) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", row.runtime->programs);
    if (row.bits > 0) text += fmt::format(" ({:.3g} bits)", row.bits);
  }
  return text;
}

std::string ProgramsOf(const ResultGroup& group, const ResultRow& row) {
  return row.is_baseline() ? kAsTheOriginal : ProgramsText(RuntimesOf(group, row));
}

}  // namespace marlin
