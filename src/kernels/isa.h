// Instruction sets as bits: available on this machine, needed by a kernel, allowed by the user.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

using IsaSet = std::uint32_t;

inline constexpr IsaSet kIsaScalar = 0;        // portable C++: needs nothing
inline constexpr IsaSet kIsaAvx2 = 1u << 0;    // AVX2, FMA and F16C
inline constexpr IsaSet kIsaAvx512 = 1u << 1;  // AVX-512 F, BW, VL and DQ
inline constexpr IsaSet kIsaAvx512Vnni = 1u << 2;
inline constexpr IsaSet kIsaAvx512Bf16 = 1u << 3;
inline constexpr IsaSet kIsaAvxVnni = 1u << 4;       // dot products of AVX2's vectors
inline constexpr IsaSet kIsaAvx512Vbmi = 1u << 5;    // permutations of bytes
inline constexpr IsaSet kIsaNeon = 1u << 16;         // AArch64's vectors (asimd)
inline constexpr IsaSet kIsaNeonDotprod = 1u << 17;  // FEAT_DotProd
inline constexpr IsaSet kIsaNeonBf16 = 1u << 18;     // FEAT_BF16
inline constexpr IsaSet kIsaNeonI8mm = 1u << 19;     // FEAT_I8MM

// x86-64 has the lower half of the bits, AArch64 the upper one.
inline constexpr IsaSet kX86Bits = 0xffff;
inline constexpr IsaSet kArm64Bits = 0xffff0000;

// A level that `--isa=` can name: everything up to and including it.
struct IsaLevel {
  std::string_view name;
  IsaSet bits;
};

// Those that this build can have kernels for, from the least to the most.
std::span<const IsaLevel> IsaLevels();

// "scalar, avx2, ...": the names of IsaLevels().
std::string IsaLevelNames();

// What the processor has and the operating system saves on a context switch.
IsaSet HostIsa();

// What is used where nothing else is asked for: all of HostIsa() but what is slower than what it would replace. Intel's
// processors run dot products of bf16 in vectors at half the rate of fp32's multiply-adds.
IsaSet UsualIsa();

// Whether a stream is read faster past the caches than through them; on Intel's processors a third slower, because such
// reads wait in the few buffers of the first cache.
bool ReadsFasterPastCaches();

// The name of the highest level that lies in `set`.
std::string_view HighestLevel(IsaSet set);

// "avx2, avx512"; "scalar" for the empty set.
std::string IsaNames(IsaSet set);

// In small or capital letters. Levels of other architectures are known too. Errors: kUsage, naming those of this build.
Result<IsaSet> ParseIsa(std::string_view name);

}  // namespace marlin
