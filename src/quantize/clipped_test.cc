#include "quantize/clipped.h"

#include <gtest/gtest.h>

#include <vector>

#include "formats/formats.h"

namespace marlin {
namespace {

EncodedMatrix Encoded(const char* format, float value) {
  std::vector<float> values(2 * 64, 0.5f);
  values[64] = value;  // in the second row
  return Encode(*FindFormat(format), {values.data(), 2, 64});
}

TEST(Clipped, ScalesAtTheEndOfTheirRangeAreCounted) {
  for (const char* format : {"fp4-g32", "int4-g64", "int8-g128", "mxfp4", "q4_0", "q8_0"}) {
    const ClippedTensor clipped = FindClipped("model.x", Encoded(format, 1e9f).view());
    EXPECT_EQ(clipped.count, 1u) << format;
    EXPECT_NE(Describe(clipped).find("tensor model.x: 1 scales of " + std::string(format)), std::string::npos)
        << Describe(clipped);
    EXPECT_EQ(FindClipped("model.x", Encoded(format, 60000).view()).count, 0u) << format;
  }
}

TEST(Clipped, ValuesBeyondFp16AreCounted) {
  const ClippedTensor clipped = FindClipped("model.norm.weight", Encoded("fp16", 1e5f).view());
  EXPECT_EQ(clipped.count, 1u);
  EXPECT_NE(Describe(clipped).find("1 values exceed 65504"), std::string::npos) << Describe(clipped);
  EXPECT_EQ(FindClipped("x", Encoded("fp16", 65504).view()).count, 0u) << "the largest number is exact";
  EXPECT_EQ(FindClipped("x", Encoded("bf16", 1e5f).view()).count, 0u);
}

}  // namespace
}  // namespace marlin
