#include "files/gguf_file_type.h"

#include <algorithm>
#include <array>

namespace marlin {
namespace {

// Those of the types that this program reads.
constexpr std::array kFileTypes = {
    GgufFileType{0, "F32", DType::kF32},        GgufFileType{1, "F16", DType::kF16},
    GgufFileType{2, "Q4_0", DType::kQ4_0},      GgufFileType{3, "Q4_1", DType::kQ4_1},
    GgufFileType{7, "Q8_0", DType::kQ8_0},      GgufFileType{8, "Q5_0", DType::kQ5_0},
    GgufFileType{9, "Q5_1", DType::kQ5_1},      GgufFileType{10, "Q2_K", DType::kQ2_K},
    GgufFileType{11, "Q3_K_S", DType::kQ3_K},   GgufFileType{12, "Q3_K_M", DType::kQ3_K},
    GgufFileType{13, "Q3_K_L", DType::kQ3_K},   GgufFileType{14, "Q4_K_S", DType::kQ4_K},
    GgufFileType{15, "Q4_K_M", DType::kQ4_K},   GgufFileType{16, "Q5_K_S", DType::kQ5_K},
    GgufFileType{17, "Q5_K_M", DType::kQ5_K},   GgufFileType{18, "Q6_K", DType::kQ6_K},
    GgufFileType{21, "Q2_K_S", DType::kQ2_K},   GgufFileType{25, "IQ4_NL", DType::kIQ4_NL},
    GgufFileType{30, "IQ4_XS", DType::kIQ4_XS}, GgufFileType{32, "BF16", DType::kBF16},
    GgufFileType{38, "MXFP4", DType::kMXFP4},   GgufFileType{39, "NVFP4", DType::kNVFP4},
};

}  // namespace

const GgufFileType* FindGgufFileType(std::int64_t number) {
  const auto found = std::ranges::find(kFileTypes, number, &GgufFileType::number);
  return found == kFileTypes.end() ? nullptr : &*found;
}

const GgufFileType* FindGgufFileType(std::string_view name) {
  const auto found = std::ranges::find(kFileTypes, name, &GgufFileType::name);
  return found == kFileTypes.end() ? nullptr : &*found;
}

}  // namespace marlin
