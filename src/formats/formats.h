// The one list of weight formats. Command-line names, readers and writers, reference kernels, property tests,
// conformance rows, bench rows, bits per weight and report labels all follow from it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "base/result.h"
#include "formats/affine.h"
#include "formats/dense.h"
#include "formats/format.h"
#include "formats/fp4.h"
#include "formats/int8.h"
#include "formats/integers.h"
#include "formats/iq4_nl.h"
#include "formats/k_quants.h"
#include "formats/mxfp4.h"
#include "formats/nvfp4.h"

namespace marlin {

template <Format... Fs>
struct FormatList {
  static constexpr std::size_t kSize = sizeof...(Fs);
  // visitor(F{}) for every format, in order.
  template <class Visitor>
  static constexpr void ForEach(Visitor&& visitor) {
    (visitor(Fs{}), ...);
  }
  // The format at a place of the list.
  template <std::size_t kIndex>
  using At = std::tuple_element_t<kIndex, std::tuple<Fs...>>;
};

using AllFormats =
    FormatList<Fp32, Fp16, Bf16,                                                               //
               Int8<8, "int8-g128", 128>,                                                      //
               Fp4<16, "fp4-g32", 32>,                                                         //
               Fp4<17, "fp4-g64", 64>,                                                         //
               Fp4<18, "fp4-g128", 128>,                                                       //
               Fp4<19, "fp4-g256", 256>,                                                       //
               Int4<32, "int4-g64", 64>,                                                       //
               Int4<33, "int4-g128", 128>,                                                     //
               Mxfp4<48, "mxfp4", 32>,                                                         //
               Nvfp4<49, "nvfp4", 16, false>, Nvfp4<50, "mlx-nvfp4", 16, true>,                //
               SymmetricInt<64, "q4_0", 32, 4>,                                                //
               Affine<65, "q4_1", 32, 4, AffineType::kFp16>, SymmetricInt<66, "q5_0", 32, 5>,  //
               Affine<67, "q5_1", 32, 5, AffineType::kFp16>,                                   //
               Int8<68, "q8_0", 32, false>,                                                    //
               KAffine<70, "q4_k", 4, "q5_0">,                                                 //
               KAffine<71, "q5_k", 5, "q5_1">,                                                 //
               KSymmetric<72, "q6_k", "q8_0">,                                                 //
               Iq4Nl<73, "iq4_nl", 32>,                                                        //
               Affine<80, "mlx4-g32", 32, 4, AffineType::kBf16>, Affine<81, "mlx4-g64", 64, 4, AffineType::kBf16>,
               Affine<82, "mlx4-g128", 128, 4, AffineType::kBf16>>;

// All formats as rows, in the order of the list.
std::span<const FormatRow> Formats();

// nullptr when there is none.
const FormatRow* FindFormat(std::string_view name);
const FormatRow* FindFormat(std::uint16_t id);

// The format in which a matrix with rows of `cols` weights is stored where `format` was wanted: `format` itself, or its
// fallback where its blocks do not divide the rows.
const FormatRow& FormatForRows(const FormatRow& format, std::size_t cols);

// Errors: kUsage, naming the formats there are.
Result<const FormatRow*> ParseFormat(std::string_view name);

}  // namespace marlin
