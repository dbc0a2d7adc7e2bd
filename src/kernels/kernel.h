// The kernel table: one row per kernel, fastest first. The first row that fits is chosen; every other row gives the
// reason why it was not. The conformance test and the kernel bench use the same rows.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/format.h"
#include "kernels/cpu/tile.h"
#include "kernels/isa.h"
#include "kernels/layout.h"

namespace marlin {

inline constexpr std::string_view kAnyFamily = "any";

// What x is rounded to before it is multiplied.
enum class Activations { kFp32, kInt16, kBf16, kInt8 };

struct ActivationsName {
  std::string_view name;
  Activations value;
};

// From the most exact to the fastest.
inline constexpr ActivationsName kActivations[] = {{"fp32", Activations::kFp32},
                                                   {"int16", Activations::kInt16},
                                                   {"bf16", Activations::kBf16},
                                                   {"int8", Activations::kInt8}};
std::string_view NameOf(Activations activations);
// Errors: kUsage, naming what there is.
Result<Activations> ParseActivations(std::string_view name);

struct KernelRow {
  std::string_view name;    // "avx512/fp4"; unique
  std::string_view family;  // FormatInfo::family, or kAnyFamily
  IsaSet needs;
  Activations activations;
  int group_multiple;  // the group of a format with groups must be one
  MatmulFn matmul;
  PackedInput input = {};  // how x is packed for it; empty where it takes x as it is

  bool takes_packed() const { return input.pack != nullptr; }
};

// Whether x is packed as for many tokens where a MatmulTile has m.
inline bool PacksMany(const PackedInput& input, std::size_t m) { return input.pack_many != nullptr && m >= input.many; }
inline PackFn PackingFor(const PackedInput& input, std::size_t m) {
  return PacksMany(input, m) ? input.pack_many : input.pack;
}

// The most that this machine's registers can do, by what activations are rounded to.
struct Peak {
  std::string_view isa;
  Activations activations;
  PeakLoop loop;
};
// One for every precision that `isa` has instructions for.
std::vector<Peak> Peaks(IsaSet isa);

// The element-wise operations and dense products of the fastest instruction set in `isa`.
const OpsTable& OpsFor(IsaSet isa);

// All rows of this build, fastest first.
std::span<const KernelRow> Kernels();

// nullptr when there is none.
const KernelRow* FindKernel(std::string_view name);

struct KernelOptions {
  IsaSet isa = kIsaScalar;                       // what may be used: the host's, or less
  Activations activations = Activations::kFp32;  // what x may be rounded to; rows that are more exact serve too
  // Row that must serve the formats of its family; the other families choose as usual. Empty = none.
  std::string_view forced;
};

// What the roughest of the rows that would be chosen, one per family, rounds x to.
Activations RoughestActivations(const KernelOptions& options);

struct KernelRequest {
  const FormatInfo* format = nullptr;
  std::size_t rows = 0;  // n
  std::size_t cols = 0;  // k
};

// What one row answered.
struct KernelVerdict {
  const KernelRow* row = nullptr;
  bool chosen = false;
  std::string reason;  // "fastest row that serves", "int4 only", "needs avx512, which this machine lacks", ...
};

// The whole walk over `rows`, one verdict per row, at most one chosen.
std::vector<KernelVerdict> ExplainKernel(std::span<const KernelRow> rows, const KernelRequest& request,
                                         const KernelOptions& options);

// Errors: kUnsupported, with the reason of every row.
Result<const KernelRow*> SelectKernel(std::span<const KernelRow> rows, const KernelRequest& request,
                                      const KernelOptions& options);

}  // namespace marlin
