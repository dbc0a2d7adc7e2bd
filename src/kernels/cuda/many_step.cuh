// Quantized weights as the operand A of wgmma: what a lane reads of a record, and how it decodes that.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/many_power.h"
#include "kernels/cuda/ptx.cuh"

namespace marlin::cuda {

// a * b + c of two fp16 numbers each, rounded once.
__device__ inline std::uint32_t MultiplyAddHalves(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t out;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
  return out;
}
// That of the lower or the upper one of two rows, twice.
__device__ inline std::uint32_t OfRow(std::uint32_t halves, int upper) {
  return upper == 0 ? LowerTwice(halves) : UpperTwice(halves);
}

// Where a lane finds its part of the first record of its warp in the first place of the ring.
struct ManyPlaces {
  std::uint32_t codes, more, scales, zeros, biases, units;
};

// 16 rows and 64 columns of a record: what a lane needs of them.
template <class Type>
struct ManyPart {
  static constexpr FewFormat kFormat = Type::kFormat;
  static constexpr FewCoding kCoding = kFormat.coding;
  static constexpr int kBits = BitsOf(kCoding);
  static constexpr int kGroupsOfRecord = GroupsOfRecord(kFormat.group);
  static constexpr int kGroups = kFormat.group >= 64 ? 1 : 64 / kFormat.group;
  static constexpr int kOneScale = BytesOfScale(kFormat);
  static constexpr int kScaleWords = kGroups * 2 * kOneScale / 4;
  static constexpr bool kUnits = kFormat.scale == FewScale::kUnits;
  // Integers whose zero is not 0 are multiplied and shifted in one instruction. Its product of a scale and a power of
  // two is exact. Bytes lose their zero before.
  static constexpr int kZero = AreWhole(kCoding) ? 0 : ZeroOf(kCoding, kFormat.biased);
  static constexpr bool kAdds = kFormat.biased || kZero != 0;
  static_assert(kScaleWords >= 1 && (!kFormat.biased || kGroups <= 2));

  std::uint32_t codes[kBits];
  std::uint32_t scales[kScaleWords];
  std::uint32_t zeros;
  std::uint32_t biases[2];  // of row g and g + 8: of one or two groups
  std::uint32_t units[2];   // of scales, and of biases; of row g and g + 8
  // After Prepare, of row g and g + 8.
  std::uint32_t factors[kGroups];
  std::uint32_t added[kGroups];   // -zero x scale
  std::uint32_t added_biases[2];  // [row g or g + 8]: of one or two groups

  // record: its address.
  static __device__ ManyPlaces PlacesOf(std::uint32_t record, int lane) {
    constexpr FewRecord kAt = RecordOf(kFormat);
    const int g = lane / 4;
    return {record + PlaceOfWord(kCoding, 0, lane, 0),
            record + PlaceOfWord(kCoding, 0, lane, kBits > 4 ? 4 : 0),
            record + kAt.scales + g * kGroupsOfRecord * 2 * kOneScale,
            record + kAt.zeros + g,
            record + kAt.biases + g * kGroupsOfRecord * kOneScale,
            record + kAt.units + g * 4};
  }

  // part: of the record, 0 to 3.
  __device__ __forceinline__ void Load(const ManyPlaces& from, std::uint32_t offset, int part) {
    const int group = part * 64 / kFormat.group;
    LoadWords<4>(from.codes + offset + PlaceOfWord(kCoding, part, 0, 0), &codes[0]);
    if constexpr (kBits > 4) {
      const int of_more = PlaceOfWord(kCoding, part, 0, 4) - PlaceOfWord(kCoding, 0, 0, 4);
      LoadWords<kBits - 4>(from.more + offset + of_more, &codes[4]);
    }
    LoadWords<kScaleWords>(from.scales + offset + group * 2 * kOneScale, scales);
    if constexpr (kCoding == FewCoding::kInt4Zeros) zeros = Load1(from.zeros + offset + group * 8);
    if constexpr (kFormat.biased) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const std::uint32_t at = from.biases + offset + (upper * 8 * kGroupsOfRecord + group) * kOneScale;
        biases[upper] = kGroups * kOneScale == 4 ? Load4(at) : Load2(at);
      }
    }
    if constexpr (kUnits) {
      units[0] = Load4(from.units + offset);
      if constexpr (kFormat.biased) units[1] = Load4(from.units + offset + 32);
    }
  }

  // What follows is not done before what precedes: the registers of an operand A are in use until then.
  __device__ __forceinline__ void Hold() {
#pragma unroll
    for (std::uint32_t& word : codes) asm volatile("" : "+r"(word));
#pragma unroll
    for (std::uint32_t& word : scales) asm volatile("" : "+r"(word));
  }

  __device__ __forceinline__ void Prepare(const ManyFactors& of) {
    std::uint32_t unit = 0;
    if constexpr (kUnits) unit = Raised(units[0], of);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      factors[group] = FactorsOfGroup(group, unit, of);
      if constexpr (kZero != 0) {
        constexpr std::uint32_t kMinusZero = TwoHalves(-kZero / PowerOfMany(kCoding));
        added[group] = MultiplyHalves(factors[group], kMinusZero);
      }
    }
    if constexpr (kFormat.biased) {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        if constexpr (kUnits) {
          const std::uint32_t own = MultiplyHalves(OfRow(units[1], upper), of.biases);
          added_biases[upper] = MultiplyHalves(SignedBytes(biases[upper], 0), own);
        } else {
          added_biases[upper] = MultiplyHalves(biases[upper], of.biases);
        }
      }
    }
  }

  // The operand A of 16 columns, step 0 to 3.
  __device__ __forceinline__ void Decode(int step, const Iq4Tables& tables, std::uint32_t (&a)[4]) const {
    const int group = step * kGroups / 4;
    if constexpr (AreWhole(kCoding)) {
      DecodeBytes(step, tables, a);
    } else {
      DecodeStep<kCoding, 0>(codes, step, a, tables);
    }
    if constexpr (kCoding == FewCoding::kInt4Zeros) SubtractZeros(a, zeros);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const std::uint32_t factor = OfRow(factors[group], n % 2);
      if constexpr (kFormat.biased) {
        a[n] = MultiplyAddHalves(a[n], factor, OfRow(added_biases[n % 2], group));
      } else if constexpr (kAdds) {
        a[n] = MultiplyAddHalves(a[n], factor, OfRow(added[group], n % 2));
      } else {
        a[n] = MultiplyHalves(a[n], factor);
      }
    }
  }

 private:
  static constexpr std::uint32_t kByteZeros = TwoHalves(1024 + kByteZero);

  // The scales of row g and g + 8.
  __device__ __forceinline__ std::uint32_t FactorsOfGroup(int group, std::uint32_t unit, const ManyFactors& of) const {
    if constexpr (kFormat.scale == FewScale::kHalf) {
      return Raised(scales[group], of);
    } else if constexpr (kFormat.scale == FewScale::kUnits) {
      return MultiplyHalves(SignedBytes(scales[group / 2], group % 2), unit);
    } else if constexpr (kFormat.scale == FewScale::kE4m3) {
      return E4m3ToHalves(scales[group / 2] >> (group % 2 * 16));
    } else {
      const std::uint32_t word = scales[group / 2];  // of two groups
      const bool even = group % 2 == 0;
      const std::uint32_t lower = even ? word << 23 : word << 7, upper = even ? word << 15 : word >> 1;
      const __half2 both = __floats2half2_rn(__uint_as_float(lower & 0x7f800000u) * of.scale,
                                             __uint_as_float(upper & 0x7f800000u) * of.scale);
      return *reinterpret_cast<const std::uint32_t*>(&both);
    }
  }
  static __device__ std::uint32_t Raised(std::uint32_t halves, const ManyFactors& of) {
    return MultiplyHalves(MultiplyHalves(halves, of.scales[0]), of.scales[1]);
  }
  // The lower or the upper two bytes of a word, which are signed, to fp16 numbers.
  static __device__ std::uint32_t SignedBytes(std::uint32_t word, int upper) {
    return WholeNumbers(word ^ 0x80808080u, upper);
  }
  // The same of bytes that are too large by kByteZero: put into the mantissa of 1024.
  static __device__ std::uint32_t WholeNumbers(std::uint32_t word, int upper) {
    return SubtractHalves(Permute(word, kLowerInteger, upper == 0 ? 0x5150 : 0x5352), kByteZeros);
  }

  __device__ __forceinline__ void DecodeBytes(int step, const Iq4Tables& tables, std::uint32_t (&a)[4]) const {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if constexpr (kCoding == FewCoding::kInt8) {
        a[n] = WholeNumbers(codes[step * 2 + n / 2], n % 2);
      } else {
        a[n] = WholeNumbers(Iq4Bytes(n < 2 ? codes[step] : codes[step] >> 16, tables), n % 2);
      }
    }
  }
};

}  // namespace marlin::cuda
