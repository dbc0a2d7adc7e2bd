// The one list of weight formats. Command-line names, readers and writers, reference kernels, property tests,
// conformance rows, bench rows, bits per weight and report labels all follow from it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/dense.h"
#include "formats/format.h"
#include "formats/fp4.h"
#include "formats/int4.h"
#include "formats/int8.h"
#include "formats/mxfp4.h"

namespace marlin {

template <Format... Fs>
struct FormatList {
  static constexpr std::size_t kSize = sizeof...(Fs);
  // visitor(F{}) for every format, in order.
  template <class Visitor>
  static constexpr void ForEach(Visitor&& visitor) {
    (visitor(Fs{}), ...);
  }
};

using AllFormats = FormatList<Fp32, Fp16, Bf16,            //
                              Int8<8, "int8-g128", 128>,   //
                              Fp4<16, "fp4-g32", 32>,      //
                              Fp4<17, "fp4-g64", 64>,      //
                              Fp4<18, "fp4-g128", 128>,    //
                              Fp4<19, "fp4-g256", 256>,    //
                              Int4<32, "int4-g64", 64>,    //
                              Int4<33, "int4-g128", 128>,  //
                              Mxfp4<48, "mxfp4", 32>,      //
                              SymmetricInt4<64, "q4_0", 32>, Int8<68, "q8_0", 32, false>>;

// All formats as rows, in the order of the list.
std::span<const FormatRow> Formats();

// nullptr when there is none.
const FormatRow* FindFormat(std::string_view name);
const FormatRow* FindFormat(std::uint16_t id);

// Errors: kUsage, naming the formats there are.
Result<const FormatRow*> ParseFormat(std::string_view name);

}  // namespace marlin
