// Selection of kernels: order, reasons, and the forced kernel.
#include "kernels/kernel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "formats/formats.h"

namespace marlin {
namespace {

void NoMatmul(const MatmulTile&) noexcept {}

constexpr KernelRow kTestRows[] = {
    {"fast/fp4-bf16", "fp4", kIsaAvx512, Activations::kBf16, 1, NoMatmul},
    {"fast/fp4", "fp4", kIsaAvx512, Activations::kFp32, 64, NoMatmul},
    {"middle/fp4", "fp4", kIsaAvx2, Activations::kFp32, 1, NoMatmul},
    {"middle/int4", "int4", kIsaAvx2, Activations::kFp32, 1, NoMatmul},
    {"slow/any", kAnyFamily, kIsaScalar, Activations::kFp32, 1, NoMatmul},
};

std::string Chosen(std::string_view format, std::size_t cols, const KernelOptions& options) {
  const Result<const KernelRow*> row = SelectKernel(kTestRows, {&FindFormat(format)->info, 64, cols}, options);
  return row.ok() ? std::string((*row)->name) : row.error().message;
}

TEST(Kernel, TheFirstRowThatServesIsChosen) {
  const KernelOptions all{kIsaAvx2 | kIsaAvx512, Activations::kFp32, ""};
  EXPECT_EQ(Chosen("fp4-g64", 64, all), "fast/fp4");
  EXPECT_EQ(Chosen("fp4-g64", 65, all), "fast/fp4") << "a kernel takes every k";
  EXPECT_EQ(Chosen("fp4-g32", 64, all), "middle/fp4");
  EXPECT_EQ(Chosen("int4-g64", 64, all), "middle/int4");
  EXPECT_EQ(Chosen("bf16", 64, all), "slow/any");
  EXPECT_EQ(Chosen("fp4-g64", 64, {kIsaAvx2, Activations::kFp32, ""}), "middle/fp4");
  EXPECT_EQ(Chosen("fp4-g64", 64, {kIsaScalar, Activations::kFp32, ""}), "slow/any");
  EXPECT_EQ(Chosen("fp4-g64", 64, {kIsaAvx2 | kIsaAvx512, Activations::kBf16, ""}), "fast/fp4-bf16");
  // Where no row rounds x, one that does not serves.
  EXPECT_EQ(Chosen("int4-g64", 64, {kIsaAvx2 | kIsaAvx512, Activations::kBf16, ""}), "middle/int4");
}

TEST(Kernel, ForcingBindsTheFamiliesOfTheRow) {
  const KernelOptions forced{kIsaAvx2 | kIsaAvx512, Activations::kFp32, "middle/fp4"};
  EXPECT_EQ(Chosen("fp4-g64", 64, forced), "middle/fp4");
  EXPECT_EQ(Chosen("int4-g64", 64, forced), "middle/int4");
  EXPECT_EQ(Chosen("int4-g64", 64, {kIsaAvx2 | kIsaAvx512, Activations::kFp32, "slow/any"}), "slow/any");
  const std::string refusal = Chosen("fp4-g32", 65, {kIsaAvx2 | kIsaAvx512, Activations::kFp32, "fast/fp4"});
  EXPECT_NE(refusal.find("the group must be a multiple of 64, got 32"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("fast/fp4 was requested"), std::string::npos) << refusal;
}

TEST(Kernel, EveryRefusalHasAReason) {
  const auto walk =
      ExplainKernel(kTestRows, {&FindFormat("fp4-g32")->info, 64, 33}, {kIsaAvx2, Activations::kFp32, ""});
  ASSERT_EQ(walk.size(), std::size(kTestRows));
  EXPECT_EQ(walk[0].reason, (HostIsa() & kIsaAvx512) != 0
                                ? "needs avx512 (this machine has it; it is left out); chosen among: avx2"
                                : "needs avx512; chosen among: avx2");
  EXPECT_EQ(walk[2].reason, "the fastest usable kernel");
  EXPECT_EQ(walk[3].reason, "takes int4 only");
  EXPECT_EQ(walk[4].reason, "usable; a faster kernel comes first");
  for (std::size_t i = 0; i < walk.size(); ++i) EXPECT_EQ(walk[i].chosen, i == 2) << walk[i].row->name;
}

TEST(Kernel, TheTableIsSound) {
  std::set<std::string_view> names;
  for (const KernelRow& row : Kernels()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_NE(row.matmul, nullptr) << row.name;
    EXPECT_EQ(FindKernel(row.name), &row);
  }
  EXPECT_EQ(FindKernel("avx512/none"), nullptr);
}

TEST(Kernel, EveryFormatHasAKernelOnEveryMachine) {
  for (const FormatRow& format : Formats()) {
    EXPECT_TRUE(SelectKernel(Kernels(), {&format.info, 1, 1}, {}).ok()) << format.info.name;
  }
}

#if defined(MARLIN_X86)
TEST(Activations, TheRoughestOfTheRowsThatWouldBeChosen) {
  const auto roughest = [](IsaSet isa, Activations allowed) { return RoughestActivations({isa, allowed, ""}); };
  constexpr IsaSet kAvx512 = kIsaAvx2 | kIsaAvx512;
  EXPECT_EQ(roughest(kIsaScalar, Activations::kInt8), Activations::kFp32);
  EXPECT_EQ(roughest(kIsaAvx2, Activations::kFp32), Activations::kFp32);
  EXPECT_EQ(roughest(kIsaAvx2, Activations::kBf16), Activations::kInt16);
  EXPECT_EQ(roughest(kAvx512, Activations::kBf16), Activations::kFp32) << "faster than int16 on AVX2";
  EXPECT_EQ(roughest(kAvx512 | kIsaAvx512Vnni, Activations::kBf16), Activations::kInt16);
  EXPECT_EQ(roughest(kAvx512 | kIsaAvx512Vnni | kIsaAvx512Bf16, Activations::kBf16), Activations::kBf16);
  EXPECT_EQ(roughest(kAvx512 | kIsaAvx512Vnni | kIsaAvx512Bf16, Activations::kInt8), Activations::kInt8);
}
#endif

TEST(Activations, NamesAndParsing) {
  for (const ActivationsName& known : kActivations) {
    EXPECT_EQ(*ParseActivations(known.name), known.value);
    EXPECT_EQ(NameOf(known.value), known.name);
  }
  const Result<Activations> unknown = ParseActivations("fp8");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kUsage);
  EXPECT_NE(unknown.error().message.find("fp32, int16, bf16, int8"), std::string::npos);
}

TEST(Peaks, CountAndEnd) {
  const std::vector<Peak> peaks = Peaks(HostIsa());
  ASSERT_FALSE(peaks.empty());
  EXPECT_EQ(peaks[0].activations, Activations::kFp32);
  for (const Peak& peak : peaks) {
    EXPECT_GT(peak.loop.operations_per_step, 0) << peak.isa;
    EXPECT_TRUE(std::isfinite(peak.loop.run(1000))) << peak.isa;
  }
}

TEST(Isa, NamesAndParsing) {
  EXPECT_EQ(UsualIsa() & ~HostIsa(), 0u);
  EXPECT_EQ(HighestLevel(kIsaScalar), "scalar");
  EXPECT_EQ(IsaNames(kIsaScalar), "scalar");
  EXPECT_EQ(IsaNames(kIsaAvx2 | kIsaAvx512), "avx2, avx512");
  EXPECT_EQ(IsaNames(kIsaAvx2 | kIsaAvxVnni), "avx2, avxvnni");
  EXPECT_EQ(IsaNames(kIsaNeon), "neon");
  EXPECT_EQ(IsaNames(kIsaNeon | kIsaNeonBf16), "neon, neonbf16");
  EXPECT_EQ(*ParseIsa("avx512"), kIsaAvx2 | kIsaAvx512);
  EXPECT_EQ(*ParseIsa("neon"), kIsaNeon);
  EXPECT_EQ(*ParseIsa("NEONi8mm"), kIsaNeon | kIsaNeonDotprod | kIsaNeonI8mm);
  EXPECT_FALSE(ParseIsa("AVX").ok());
  const Result<IsaSet> unknown = ParseIsa("mmx");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kUsage);
  for (const IsaLevel& level : IsaLevels()) {
    EXPECT_NE(unknown.error().message.find(level.name), std::string::npos) << level.name;
  }
}

TEST(Isa, ThisBuildHasTheLevelsOfItsArchitecture) {
  EXPECT_EQ(IsaLevels().front().name, "scalar");
#if defined(MARLIN_X86)
  EXPECT_EQ(IsaLevels().back().bits & kArm64Bits, 0u);
  EXPECT_EQ(HighestLevel(kIsaAvx2 | kIsaAvx512 | kIsaAvx512Bf16), "avx512");
#elif defined(MARLIN_ARM64)
  EXPECT_EQ(IsaLevels().back().bits & kX86Bits, 0u);
  EXPECT_EQ(HighestLevel(kIsaNeon), "neon");
  EXPECT_EQ(HostIsa() & kIsaNeon, kIsaNeon);  // so that no test of its kernels is skipped
#endif
}

}  // namespace
}  // namespace marlin
