// Which programs run the files of a row, by the list in formats/runtimes.h and what the sizes of the rows say of the
// model's matrices. A record holds no shapes: what a container cannot hold for another reason, `export` refuses.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/runtimes.h"
#include "records/analysis.h"

namespace marlin {

inline constexpr const char* kRunsInTitle = "Runs in";
inline constexpr const char* kThisProgramOnly = "this program only";
inline constexpr const char* kAsTheOriginal = "as the original";

// Quantized tensors of one format.
struct BytesOfFormat {
  std::string_view format;
  std::uint64_t bytes = 0;
};

// The formats of a row, each once. Empty where the record does not say all of them; units that stay in 16 bits are
// none.
std::vector<BytesOfFormat> QuantizedParts(const Record& record);

struct RowRuntime {
  const Runtime* runtime = nullptr;
  double bits = 0;  // per weight of the quantized tensors in its files, where they are larger than the row; else 0
};
using Runtimes = std::vector<RowRuntime>;

// False where sizes show that a last group is short: whole groups of all `parameters` would have other bytes. Formats
// whose scales share units, and those that are not known, show nothing.
bool GroupsAreWhole(std::span<const BytesOfFormat> parts, std::uint64_t parameters);

// Those whose files hold every part, in the order of the list. nullopt: a format is not known.
std::optional<Runtimes> RuntimesOf(std::span<const BytesOfFormat> parts, std::uint64_t parameters);

// The same for a row of the group. Other rows of the same tensors show too which lengths their rows do not have.
// nullopt for a baseline, for another program's file, and where the record does not say every format.
std::optional<Runtimes> RuntimesOf(const ResultGroup& group, const ResultRow& row);

// "llama.cpp (5 bits), MLX", or kThisProgramOnly; empty for nullopt.
std::string ProgramsText(const std::optional<Runtimes>& runtimes);

// The same for a row of the group; kAsTheOriginal for a baseline.
std::string ProgramsOf(const ResultGroup& group, const ResultRow& row);

}  // namespace marlin
