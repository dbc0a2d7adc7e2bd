#include "kernels/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace marlin {
namespace {

constexpr KernelRow Fp32Row(std::string_view name, std::string_view family, IsaSet needs, MatmulFn matmul) {
  return {name, family, needs, Activations::kFp32, 1, matmul};
}

#if defined(MARLIN_X86) || defined(MARLIN_ARM64)
KernelRow DotRow(std::string_view name, std::string_view family, IsaSet needs, Activations activations,
                 const PackedInput& input, MatmulFn matmul) {
  // Sums of x are kept for so many k.
  return {name, family, needs, activations, static_cast<int>(kSumLength), matmul, input};
}
#endif

#if defined(MARLIN_X86)
KernelRow VnniRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx512 | kIsaAvx512Vnni, Activations::kInt8, kAvx512VnniTable.input, matmul);
}

KernelRow SplitRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx512 | kIsaAvx512Vnni, Activations::kInt16, kAvx512SplitTable.input, matmul);
}

// They take x as VNNI's rows do, so that weights of other formats can share it.
KernelRow VbmiRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx512 | kIsaAvx512Vnni | kIsaAvx512Vbmi, Activations::kInt8, kAvx512VnniTable.input,
                matmul);
}

KernelRow VbmiSplitRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx512 | kIsaAvx512Vnni | kIsaAvx512Vbmi, Activations::kInt16,
                kAvx512SplitTable.input, matmul);
}

KernelRow Avx2PairRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx2, Activations::kInt16, kAvx2PairTable.input, matmul);
}

KernelRow AvxVnniQuadRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx2 | kIsaAvxVnni, Activations::kInt8, kAvxVnniQuadTable.input, matmul);
}

KernelRow AvxVnniPairRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx2 | kIsaAvxVnni, Activations::kInt16, kAvxVnniPairTable.input, matmul);
}

KernelRow Bf16Row(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx512 | kIsaAvx512Bf16, Activations::kBf16, kAvx512Bf16Table.input, matmul);
}

KernelRow QuadRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaAvx2, Activations::kInt8, kAvx2QuadTable.input, matmul);
}
#elif defined(MARLIN_ARM64)
KernelRow DotprodRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaNeon | kIsaNeonDotprod, Activations::kInt8, kNeonDotprodTable.input, matmul);
}

// They take x as the dot products' rows do, so that both can share it.
KernelRow I8mmRow(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaNeon | kIsaNeonDotprod | kIsaNeonI8mm, Activations::kInt8, kNeonDotprodTable.input,
                matmul);
}

KernelRow Bf16Row(std::string_view name, std::string_view family, MatmulFn matmul) {
  return DotRow(name, family, kIsaNeon | kIsaNeonBf16, Activations::kBf16, kNeonBf16Table.input, matmul);
}
#endif

// In a function, because the tables of the instruction sets are in other files.
std::span<const KernelRow> AllRows() {
  static const std::array kRows = {
#if defined(MARLIN_X86)
    VbmiRow("avx512vbmi/fp4", "fp4", kAvx512VbmiTable.fp4),
    VnniRow("avx512vnni/fp4", "fp4", kAvx512VnniTable.fp4),
    VnniRow("avx512vnni/int4", "int4", kAvx512VnniTable.int4),
    VnniRow("avx512vnni/affine4", "affine4", kAvx512VnniTable.affine4),
    VnniRow("avx512vnni/iq4", "iq4", kAvx512VnniTable.iq4),
    VnniRow("avx512vnni/int8", "int8", kAvx512VnniTable.int8),
    Bf16Row("avx512bf16/fp4", "fp4", kAvx512Bf16Table.fp4),
    Bf16Row("avx512bf16/int4", "int4", kAvx512Bf16Table.int4),
    Bf16Row("avx512bf16/affine4", "affine4", kAvx512Bf16Table.affine4),
    Bf16Row("avx512bf16/iq4", "iq4", kAvx512Bf16Table.iq4),
    Bf16Row("avx512bf16/int8", "int8", kAvx512Bf16Table.int8),
    Bf16Row("avx512bf16/bf16", "bf16", kAvx512Bf16Table.bf16),
    VbmiSplitRow("avx512vbmi/fp4-int16", "fp4", kAvx512VbmiSplitTable.fp4),
    SplitRow("avx512vnni/fp4-int16", "fp4", kAvx512SplitTable.fp4),
    SplitRow("avx512vnni/int4-int16", "int4", kAvx512SplitTable.int4),
    SplitRow("avx512vnni/affine4-int16", "affine4", kAvx512SplitTable.affine4),
    SplitRow("avx512vnni/iq4-int16", "iq4", kAvx512SplitTable.iq4),
    SplitRow("avx512vnni/int8-int16", "int8", kAvx512SplitTable.int8),
    AvxVnniQuadRow("avxvnni/fp4-int8", "fp4", kAvxVnniQuadTable.fp4),
    AvxVnniQuadRow("avxvnni/int4-int8", "int4", kAvxVnniQuadTable.int4),
    AvxVnniQuadRow("avxvnni/affine4-int8", "affine4", kAvxVnniQuadTable.affine4),
    AvxVnniQuadRow("avxvnni/iq4-int8", "iq4", kAvxVnniQuadTable.iq4),
    AvxVnniQuadRow("avxvnni/int8-int8", "int8", kAvxVnniQuadTable.int8),
    QuadRow("avx2/fp4-int8", "fp4", kAvx2QuadTable.fp4),
    QuadRow("avx2/int4-int8", "int4", kAvx2QuadTable.int4),
    QuadRow("avx2/affine4-int8", "affine4", kAvx2QuadTable.affine4),
    QuadRow("avx2/iq4-int8", "iq4", kAvx2QuadTable.iq4),
    QuadRow("avx2/int8-int8", "int8", kAvx2QuadTable.int8),
    Fp32Row("avx512/fp4", "fp4", kIsaAvx512, kAvx512Table.fp4),
    Fp32Row("avx512/int4", "int4", kIsaAvx512, kAvx512Table.int4),
    Fp32Row("avx512/affine4", "affine4", kIsaAvx512, kAvx512Table.affine4),
    Fp32Row("avx512/iq4", "iq4", kIsaAvx512, kAvx512Table.iq4),
    Fp32Row("avx512/int8", "int8", kIsaAvx512, kAvx512Table.int8),
    Fp32Row("avx512/bf16", "bf16", kIsaAvx512, kAvx512Table.bf16),
    Fp32Row("avx512/fp16", "fp16", kIsaAvx512, kAvx512Table.fp16),
    Fp32Row("avx512/fp32", "fp32", kIsaAvx512, kAvx512Table.fp32),
    AvxVnniPairRow("avxvnni/fp4-int16", "fp4", kAvxVnniPairTable.fp4),
    AvxVnniPairRow("avxvnni/int4-int16", "int4", kAvxVnniPairTable.int4),
    AvxVnniPairRow("avxvnni/affine4-int16", "affine4", kAvxVnniPairTable.affine4),
    AvxVnniPairRow("avxvnni/iq4-int16", "iq4", kAvxVnniPairTable.iq4),
    AvxVnniPairRow("avxvnni/int8-int16", "int8", kAvxVnniPairTable.int8),
    Avx2PairRow("avx2/fp4-int16", "fp4", kAvx2PairTable.fp4),
    Avx2PairRow("avx2/int4-int16", "int4", kAvx2PairTable.int4),
    Avx2PairRow("avx2/affine4-int16", "affine4", kAvx2PairTable.affine4),
    Avx2PairRow("avx2/iq4-int16", "iq4", kAvx2PairTable.iq4),
    Avx2PairRow("avx2/int8-int16", "int8", kAvx2PairTable.int8),
    Fp32Row("avx2/fp4", "fp4", kIsaAvx2, kAvx2Table.fp4),
    Fp32Row("avx2/int4", "int4", kIsaAvx2, kAvx2Table.int4),
    Fp32Row("avx2/affine4", "affine4", kIsaAvx2, kAvx2Table.affine4),
    Fp32Row("avx2/iq4", "iq4", kIsaAvx2, kAvx2Table.iq4),
    Fp32Row("avx2/int8", "int8", kIsaAvx2, kAvx2Table.int8),
    Fp32Row("avx2/bf16", "bf16", kIsaAvx2, kAvx2Table.bf16),
    Fp32Row("avx2/fp16", "fp16", kIsaAvx2, kAvx2Table.fp16),
    Fp32Row("avx2/fp32", "fp32", kIsaAvx2, kAvx2Table.fp32),
#elif defined(MARLIN_ARM64)
    I8mmRow("neoni8mm/fp4", "fp4", kNeonI8mmTable.fp4),
    I8mmRow("neoni8mm/int4", "int4", kNeonI8mmTable.int4),
    I8mmRow("neoni8mm/affine4", "affine4", kNeonI8mmTable.affine4),
    I8mmRow("neoni8mm/iq4", "iq4", kNeonI8mmTable.iq4),
    I8mmRow("neoni8mm/int8", "int8", kNeonI8mmTable.int8),
    DotprodRow("neondotprod/fp4", "fp4", kNeonDotprodTable.fp4),
    DotprodRow("neondotprod/int4", "int4", kNeonDotprodTable.int4),
    DotprodRow("neondotprod/affine4", "affine4", kNeonDotprodTable.affine4),
    DotprodRow("neondotprod/iq4", "iq4", kNeonDotprodTable.iq4),
    DotprodRow("neondotprod/int8", "int8", kNeonDotprodTable.int8),
    Bf16Row("neonbf16/fp4", "fp4", kNeonBf16Table.fp4),
    Bf16Row("neonbf16/int4", "int4", kNeonBf16Table.int4),
    Bf16Row("neonbf16/affine4", "affine4", kNeonBf16Table.affine4),
    Bf16Row("neonbf16/iq4", "iq4", kNeonBf16Table.iq4),
    Bf16Row("neonbf16/int8", "int8", kNeonBf16Table.int8),
    Bf16Row("neonbf16/bf16", "bf16", kNeonBf16Table.bf16),
    Fp32Row("neon/fp4", "fp4", kIsaNeon, kNeonTable.fp4),
    Fp32Row("neon/int4", "int4", kIsaNeon, kNeonTable.int4),
    Fp32Row("neon/affine4", "affine4", kIsaNeon, kNeonTable.affine4),
    Fp32Row("neon/iq4", "iq4", kIsaNeon, kNeonTable.iq4),
    Fp32Row("neon/int8", "int8", kIsaNeon, kNeonTable.int8),
    Fp32Row("neon/bf16", "bf16", kIsaNeon, kNeonTable.bf16),
    Fp32Row("neon/fp16", "fp16", kIsaNeon, kNeonTable.fp16),
    Fp32Row("neon/fp32", "fp32", kIsaNeon, kNeonTable.fp32),
#endif
#if defined(MARLIN_X86)
    Fp32Row("avx512/any", kAnyFamily, kIsaAvx512, kAvx512Table.any),
    Fp32Row("avx2/any", kAnyFamily, kIsaAvx2, kAvx2Table.any),
#elif defined(MARLIN_ARM64)
    Fp32Row("neon/any", kAnyFamily, kIsaNeon, kNeonTable.any),
#endif
    Fp32Row("scalar/any", kAnyFamily, kIsaScalar, kScalarTable.any),
  };
  return kRows;
}

// Why the row cannot serve the request; empty when it can.
std::string Refusal(const KernelRow& row, const KernelRequest& request, const KernelOptions& options,
                    const KernelRow* forced) {
  const FormatInfo& format = *request.format;
  if (row.family != kAnyFamily && row.family != format.family) return fmt::format("takes {} only", row.family);
  if (forced != nullptr && forced != &row && (forced->family == kAnyFamily || forced->family == format.family)) {
    return fmt::format("{} was requested", forced->name);
  }
  if (const IsaSet missing = row.needs & ~options.isa; missing != 0) {
    // By the user, or because something else is faster here.
    const char* const left_out = (missing & ~HostIsa()) == 0 ? " (this machine has it; it is left out)" : "";
    return fmt::format("needs {}{}; chosen among: {}", IsaNames(missing), left_out, IsaNames(options.isa));
  }
  if (row.activations > options.activations) {
    return fmt::format("rounds activations to {}, allowed is {}", NameOf(row.activations), NameOf(options.activations));
  }
  if (format.group % row.group_multiple != 0) {
    return fmt::format("the group must be a multiple of {}, got {}", row.group_multiple, format.group);
  }
  return {};
}

}  // namespace

std::string_view NameOf(Activations activations) {
  for (const ActivationsName& known : kActivations) {
    if (known.value == activations) return known.name;
  }
  return {};
}

Result<Activations> ParseActivations(std::string_view name) {
  std::string names;
  for (const ActivationsName& known : kActivations) {
    if (known.name == name) return known.value;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
  }
  return Error{ErrorCode::kUsage, fmt::format("activations cannot be \"{}\"; want one of: {}", name, names)};
}

std::vector<Peak> Peaks([[maybe_unused]] IsaSet isa) {
  std::vector<Peak> peaks = {{"scalar", Activations::kFp32, kScalarTable.ops.peak}};
#if defined(MARLIN_X86)
  if ((isa & kIsaAvx2) != 0) peaks[0] = {"avx2", Activations::kFp32, kAvx2Table.ops.peak};
  if ((isa & kIsaAvx512) != 0) peaks[0] = {"avx512", Activations::kFp32, kAvx512Table.ops.peak};
  if ((isa & kIsaAvx512Bf16) != 0) peaks.push_back({"avx512bf16", Activations::kBf16, kAvx512Bf16Table.peak});
  if ((isa & kIsaAvx512Vnni) != 0) {
    peaks.push_back({"avx512vnni", Activations::kInt16, kAvx512SplitTable.peak});
    peaks.push_back({"avx512vnni", Activations::kInt8, kAvx512VnniTable.peak});
  } else if ((isa & kIsaAvxVnni) != 0) {
    peaks.push_back({"avxvnni", Activations::kInt16, kAvxVnniPairTable.peak});
    peaks.push_back({"avxvnni", Activations::kInt8, kAvxVnniQuadTable.peak});
  } else if ((isa & kIsaAvx2) != 0) {
    peaks.push_back({"avx2", Activations::kInt16, kAvx2PairTable.peak});
    peaks.push_back({"avx2", Activations::kInt8, kAvx2QuadTable.peak});
  }
#elif defined(MARLIN_ARM64)
  if ((isa & kIsaNeon) != 0) peaks[0] = {"neon", Activations::kFp32, kNeonTable.ops.peak};
  if ((isa & kIsaNeonBf16) != 0) peaks.push_back({"neonbf16", Activations::kBf16, kNeonBf16Table.peak});
  if ((isa & kIsaNeonI8mm) != 0) {
    peaks.push_back({"neoni8mm", Activations::kInt8, kNeonI8mmTable.peak});
  } else if ((isa & kIsaNeonDotprod) != 0) {
    peaks.push_back({"neondotprod", Activations::kInt8, kNeonDotprodTable.peak});
  }
#endif
  return peaks;
}

const OpsTable& OpsFor([[maybe_unused]] IsaSet isa) {
#if defined(MARLIN_X86)
  if ((isa & kIsaAvx512) != 0) return kAvx512Table.ops;
  if ((isa & kIsaAvx2) != 0) return kAvx2Table.ops;
#elif defined(MARLIN_ARM64)
  if ((isa & kIsaNeon) != 0) return kNeonTable.ops;
#endif
  return kScalarTable.ops;
}

std::span<const KernelRow> Kernels() { return AllRows(); }

Activations RoughestActivations(const KernelOptions& options) {
  Activations roughest = Activations::kFp32;
  std::vector<std::string_view> served;
  for (const KernelRow& row : AllRows()) {
    if (row.activations > options.activations || (row.needs & ~options.isa) != 0) continue;
    if (std::ranges::find(served, row.family) != served.end()) continue;
    served.push_back(row.family);
    roughest = std::max(roughest, row.activations);
  }
  return roughest;
}

const KernelRow* FindKernel(std::string_view name) {
  for (const KernelRow& row : AllRows()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::vector<KernelVerdict> ExplainKernel(std::span<const KernelRow> rows, const KernelRequest& request,
                                         const KernelOptions& options) {
  const KernelRow* forced = nullptr;
  for (const KernelRow& row : rows) {
    if (!options.forced.empty() && row.name == options.forced) forced = &row;
  }
  std::vector<KernelVerdict> verdicts;
  bool found = false;
  for (const KernelRow& row : rows) {
    KernelVerdict verdict{&row, false, Refusal(row, request, options, forced)};
    if (verdict.reason.empty()) {
      verdict.chosen = !found;
      verdict.reason = found ? "usable; a faster kernel comes first"
                             : (forced == &row ? "requested, and usable" : "the fastest usable kernel");
      found = true;
    }
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

Result<const KernelRow*> SelectKernel(std::span<const KernelRow> rows, const KernelRequest& request,
                                      const KernelOptions& options) {
  std::string refusals;
  for (const KernelVerdict& verdict : ExplainKernel(rows, request, options)) {
    if (verdict.chosen) return verdict.row;
    refusals += fmt::format("{}{}: {}", refusals.empty() ? "" : "; ", verdict.row->name, verdict.reason);
  }
  return Error{ErrorCode::kUnsupported, fmt::format("no kernel multiplies {} weights of {} x {} ({})",
                                                    request.format->name, request.rows, request.cols, refusals)};
}

}  // namespace marlin
