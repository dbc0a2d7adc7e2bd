// Vectors of 32-bit words on NEON (dots_body.h and quads_body.h have the interface).
#pragma once

#include "kernels/cpu/neon/vec.h"

namespace marlin {
namespace {

using Words = uint32x4_t;

inline Words LoadWords(const std::uint8_t* p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
inline void StoreWords(void* p, Words a) { vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_u32(a)); }
constexpr bool kHasStoreInterleaved = false;
inline Words BroadcastWord(const std::uint32_t* p) { return vld1q_dup_u32(p); }
inline void HideFromCompiler(Words& a) { asm volatile("" : "+w"(a)); }

// Two words of two rows and of two tokens, as matrix instructions read them (dots_body.h).
struct TwoByTwo {
  static Words Low(Words a, Words b) { return vzip1q_u32(a, b); }
  static Words High(Words a, Words b) { return vzip2q_u32(a, b); }
  static Words TokenTwoByTwo(const std::uint32_t* x, std::size_t width) {
    const uint32x2_t none = vdup_n_u32(0);
    return vzip1q_u32(vcombine_u32(vld1_u32(x), none), vcombine_u32(vld1_u32(x + width), none));
  }
  template <int kToken>
  static int32x4_t OfToken(int32x4_t low, int32x4_t high) {
    return kToken == 0 ? vuzp1q_s32(low, high) : vuzp2q_s32(low, high);
  }
  template <int kToken>
  static Vec OfToken(Vec low, Vec high) {
    return kToken == 0 ? vuzp1q_f32(low, high) : vuzp2q_f32(low, high);
  }
};

using Ints = int32x4_t;

inline Ints ZeroInts() { return vdupq_n_s32(0); }
inline Ints AddInts(Ints a, Ints b) { return vaddq_s32(a, b); }
inline int ReduceInts(Ints a) { return vaddvq_s32(a); }
inline int FirstInt(Ints a) { return vgetq_lane_s32(a, 0); }
inline Ints Nearest(Vec a) { return vcvtnq_s32_f32(a); }
inline Vec ToFloats(Ints a) { return vcvtq_f32_s32(a); }
inline void StoreBytes(void* p, Ints a) {
  const int16x4_t halves = vqmovn_s32(a);
  const int8x8_t bytes = vqmovn_s16(vcombine_s16(halves, halves));
  vst1_lane_u32(static_cast<std::uint32_t*>(p), vreinterpret_u32_s8(bytes), 0);
}

}  // namespace
}  // namespace marlin
