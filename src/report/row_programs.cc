#include "report/row_programs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "formats/formats.h"

namespace marlin {
namespace {

std::uint64_t BitsOfGroup(const FormatInfo& info) {
  return static_cast<std::uint64_t>(info.code_bits) * static_cast<std::uint64_t>(info.group) +
         static_cast<std::uint64_t>(info.scale_bits + info.zero_point_bits + info.bias_bits);
}

bool SizeShowsGroups(const FormatInfo& info) { return HasGroups(info) && info.unit_scope == UnitScope::kNone; }

// Whether files of the runtime hold the format in rows whose last group may be short.
bool HoldsShortGroups(const Runtime& runtime, const FormatInfo& info) {
  return runtime.most_block != 0 && runtime.most_block < static_cast<std::size_t>(info.group);
}

bool HoldsAll(const Runtime& runtime, std::span<const BytesOfFormat> parts, bool whole) {
  return std::ranges::all_of(parts, [&](const BytesOfFormat& part) {
    const FormatInfo& info = FindFormat(part.format)->info;
    return Runs(runtime, info) && (whole || HoldsShortGroups(runtime, info));
  });
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
    if (HoldsAll(runtime, parts, whole)) runtimes.push_back(&runtime);
  }
  return runtimes;
}

std::optional<Runtimes> RuntimesOf(const ResultGroup& group, const ResultRow& row) {
  const Record& record = row.record();
  auto runtimes = RuntimesOf(QuantizedParts(record), record.size.quantized_parameters);
  if (!runtimes) return runtimes;
  std::erase_if(*runtimes, [&](const Runtime* runtime) {
    if (record.config.quantized_embeddings && !runtime->embeddings) return true;
    return runtime->row_multiple > 1 && RowsHaveOtherLengths(group, record, runtime->row_multiple);
  });
  return runtimes;
}

std::string ProgramsText(const std::optional<Runtimes>& runtimes) {
  if (!runtimes) return "";
  if (runtimes->empty()) return kThisProgramOnly;
  std::string text;
  for (const Runtime* const runtime : *runtimes) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", runtime->programs);
  }
  return text;
}

std::string ProgramsOf(const ResultGroup& group, const ResultRow& row) {
  return row.is_baseline() ? kAsTheOriginal : ProgramsText(RuntimesOf(group, row));
}

}  // namespace marlin
