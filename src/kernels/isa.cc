#include "kernels/isa.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#if defined(MARLIN_X86)
#include <cpuid.h>
#elif defined(MARLIN_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(MARLIN_ARM64) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace marlin {
namespace {

constexpr IsaSet kUpToAvx512 = kIsaAvx2 | kIsaAvx512;
constexpr std::array kLevels = {IsaLevel{"scalar", kIsaScalar},
                                IsaLevel{"avx2", kIsaAvx2},
                                IsaLevel{"avxvnni", kIsaAvx2 | kIsaAvxVnni},
                                IsaLevel{"avx512", kUpToAvx512},
                                IsaLevel{"avx512vnni", kUpToAvx512 | kIsaAvx512Vnni},
                                IsaLevel{"avx512vbmi", kUpToAvx512 | kIsaAvx512Vnni | kIsaAvx512Vbmi},
                                IsaLevel{"avx512bf16", kUpToAvx512 | kIsaAvx512Vnni | kIsaAvx512Bf16},
                                IsaLevel{"neon", kIsaNeon},
                                IsaLevel{"neondotprod", kIsaNeon | kIsaNeonDotprod},
                                IsaLevel{"neoni8mm", kIsaNeon | kIsaNeonDotprod | kIsaNeonI8mm},
                                IsaLevel{"neonbf16", kIsaNeon | kIsaNeonDotprod | kIsaNeonBf16}};

#if defined(MARLIN_X86)
constexpr IsaSet kBuildBits = kX86Bits;
#elif defined(MARLIN_ARM64)
constexpr IsaSet kBuildBits = kArm64Bits;
#else
constexpr IsaSet kBuildBits = 0;
#endif

#if defined(MARLIN_X86)
// What a processor answers; zeros where it does not know the leaf.
struct Cpuid {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;

  Cpuid(unsigned leaf, unsigned part) { __get_cpuid_count(leaf, part, &eax, &ebx, &ecx, &edx); }
};

// Clang 14 has no names for these. Their registers are those of AVX2, so the system saves them when it saves those.
bool HasF16c() { return (Cpuid(1, 0).ecx & bit_F16C) != 0; }
bool HasAvxVnni() { return (Cpuid(7, 1).eax & 1u << 4) != 0; }

bool IsIntel() { return __builtin_cpu_is("intel") != 0; }
#elif defined(MARLIN_ARM64) && defined(__APPLE__)
bool HasFeature(const char* name) {
  int value = 0;
  std::size_t bytes = sizeof(value);
  return ::sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 && value != 0;
}
#endif

}  // namespace

std::span<const IsaLevel> IsaLevels() {
  static const std::vector<IsaLevel> kOfBuild = [] {
    std::vector<IsaLevel> levels;
    for (const IsaLevel& level : kLevels) {
      if ((level.bits & ~kBuildBits) == 0) levels.push_back(level);
    }
    return levels;
  }();
  return kOfBuild;
}

IsaSet HostIsa() {
  IsaSet set = kIsaScalar;
#if defined(MARLIN_X86)
  // The compiler's run-time library asks CPUID and XGETBV, so a register file that the system does not save is absent.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c()) {
    set |= kIsaAvx2;
    if (HasAvxVnni()) set |= kIsaAvxVnni;
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    set |= kIsaAvx512;
    if (__builtin_cpu_supports("avx512vnni")) set |= kIsaAvx512Vnni;
    if (__builtin_cpu_supports("avx512vbmi")) set |= kIsaAvx512Vbmi;
    if (__builtin_cpu_supports("avx512bf16")) set |= kIsaAvx512Bf16;
  }
#elif defined(MARLIN_ARM64) && defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0) set |= kIsaNeon;
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) set |= kIsaNeonDotprod;
  if ((getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) set |= kIsaNeonI8mm;
  if ((getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0) set |= kIsaNeonBf16;
#elif defined(MARLIN_ARM64)
  set |= kIsaNeon;  // other systems for AArch64 run on no processor without it
#if defined(__APPLE__)
  if (HasFeature("hw.optional.arm.FEAT_DotProd")) set |= kIsaNeonDotprod;
  if (HasFeature("hw.optional.arm.FEAT_I8MM")) set |= kIsaNeonI8mm;
  if (HasFeature("hw.optional.arm.FEAT_BF16")) set |= kIsaNeonBf16;
#endif
#endif
  return set;
}

IsaSet UsualIsa() {
  IsaSet set = HostIsa();
#if defined(MARLIN_X86)
  if (IsIntel()) set &= ~kIsaAvx512Bf16;
#endif
  return set;
}

bool ReadsFasterPastCaches() {
#if defined(MARLIN_X86)
  __builtin_cpu_init();
  return !IsIntel();
#else
  return true;
#endif
}

std::string_view HighestLevel(IsaSet set) {
  std::string_view name = kLevels[0].name;
  for (const IsaLevel& level : IsaLevels()) {
    if ((level.bits & ~set) == 0) name = level.name;
  }
  return name;
}

std::string IsaNames(IsaSet set) {
  std::string names;
  IsaSet below = 0;
  for (const IsaLevel& level : kLevels) {
    const IsaSet own = level.bits & ~below;
    below |= level.bits;
    if (own != 0 && (set & own) == own) names += fmt::format("{}{}", names.empty() ? "" : ", ", level.name);
  }
  return names.empty() ? "scalar" : names;
}

std::string IsaLevelNames() {
  std::string names;
  for (const IsaLevel& level : IsaLevels()) names += fmt::format("{}{}", names.empty() ? "" : ", ", level.name);
  return names;
}

Result<IsaSet> ParseIsa(std::string_view name) {
  const auto same = [](char known, char given) { return known == (given >= 'A' && given <= 'Z' ? given + 32 : given); };
  for (const IsaLevel& level : kLevels) {
    if (std::ranges::equal(level.name, name, same)) return level.bits;
  }
  return Error{ErrorCode::kUsage,
               fmt::format("no instruction set is called \"{}\"; want one of: {}", name, IsaLevelNames())};
}

}  // namespace marlin
