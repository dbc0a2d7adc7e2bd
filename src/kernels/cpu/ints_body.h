// Activations as integers with one scale per kScaleLength of them, int8 and int16: the common part of packing them
// and of their dot products (dots_body.h). The including folder's words.h defines, besides words,
//
//   Ints, ZeroInts(), AddInts(a, b)      vectors of int32
//   ReduceInts(a), FirstInt(a)           the sum of all lanes, one of them
//   Nearest(vec), ToFloats(ints)         Nearest: ties to even
#pragma once

#include "kernels/cpu/offset_body.h"
#include "kernels/cpu/packed_input.h"

namespace marlin {
namespace {

// Subtracts an offset times the sum of a token's numbers from a sum of products: in fp32, for bytes, where all of that
// is exact.
struct OffsetsInFp32 {
  using InputSum = float;
  static Vec Without(Vec offset, const float* input, Ints sum) { return Fnma(offset, Broadcast(input), ToFloats(sum)); }
  static float InFp32(float sum_of_x) { return sum_of_x; }
};

// Sums of products. 8 k are kWords words of a row, each multiplied by kOfToken words of a token.
template <int kWords, int kOfToken, class Offsets>
struct IntSums {
  static constexpr int kStepWords = kWords;
  static constexpr int kParts = kOfToken;
  static constexpr std::size_t kTokenWords = kWords * kOfToken;
  using Sum = Ints;
  static constexpr std::size_t kChunkLength = 512 / kWords;
  static Sum Start() { return ZeroInts(); }
  static float First(Sum sum) { return static_cast<float>(FirstInt(sum)); }

  // Prefetches what TokenParams will read of a tile of `width` tokens, a block from `begin` on.
  static void FetchParams(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t width) {
    const std::uint32_t* const scales = packed + (cols + 7) / 8 * kTokenWords * width;
    __builtin_prefetch(scales + begin / kScaleLength * width);
    FetchSums(scales + InputScales(cols) * width, cols, begin, width);
  }

  template <int T, class Offset>
  class TokenParams {
   public:
    TokenParams(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t length)
        : scales_(reinterpret_cast<const float*>(packed + (cols + 7) / 8 * kTokenWords * T)),
          sums_(packed + ((cols + 7) / 8 * kTokenWords + InputScales(cols)) * T, cols, begin, length) {
      scales_ += begin / kScaleLength * T;
    }
    void Keep() {
      __builtin_memcpy(own_scales_, scales_, sizeof(own_scales_));
      asm("" : "+m"(own_scales_));
      scales_ = own_scales_;
      if constexpr (kReadsInputSums<Offset>) sums_.Keep();
    }
    Vec AddTo(Vec total, Vec scale, Sum sum, Offset offset, int t) const {
      const Vec token = Broadcast(scales_ + t);
      if constexpr (kIsBias<Offset>) {
        return Fma(WithBias(scale, ToFloats(sum), offset, Set(Offsets::InFp32(sums_.at[t]))), token, total);
      } else if constexpr (kReadsInputSums<Offset>) {
        return Fma(scale, Mul(Offsets::Without(offset, sums_.at + t, sum), token), total);
      } else {
        return Fma(scale, Mul(ToFloats(sum), token), total);
      }
    }

   private:
    const float* scales_;
    float own_scales_[T];
    InputSumsOf<T, typename Offsets::InputSum> sums_;
  };
};

// The largest |x|; NaN where one is not finite.
inline float PeakOf(const float* x, std::size_t length) {
  Vec peaks = Zero();
  Vec unbounded = Zero();
  for (std::size_t i = 0; i < length; i += kLanes) {
    const Vec a = LoadUpTo(x + i, length - i);
    unbounded = Fma(a, Zero(), unbounded);  // infinity times 0 is NaN
    peaks = Max(Max(a, Sub(Zero(), a)), peaks);
  }
  return ReduceMax(peaks) + ReduceAdd(unbounded);
}

// x = number * scale, |number| <= most; a peak that is too small for a finite inverse counts as 0.
struct InputScale {
  float scale;
  float inverse;

  InputScale(const float* x, std::size_t length, float most) {
    const float peak = PeakOf(x, length < kScaleLength ? length : kScaleLength);
    scale = peak / most;
    inverse = peak > most * 1e-38f ? most / peak : 0.0f;
  }
};

}  // namespace
}  // namespace marlin
