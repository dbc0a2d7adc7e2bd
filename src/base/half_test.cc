#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace marlin {
namespace {

TEST(Half, EveryBitPatternComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      EXPECT_EQ(FloatToHalf(value), half);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  // Between every two neighbours: the middle goes to the even one, a hair beside it to the nearer one.
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = HalfToFloat(static_cast<std::uint16_t>(bits));
    const float high = HalfToFloat(static_cast<std::uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;
    const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(FloatToHalf(middle), even);
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, -1)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafterf(middle, INFINITY)), bits + 1);
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000);
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(INFINITY), 0x7c00);
}

TEST(Bf16, EveryBitPatternComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = Bf16ToFloat(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(value))));
    } else {
      EXPECT_EQ(FloatToBf16(value), bits);
    }
  }
}

TEST(Bf16, RoundsToNearestEven) {
  Rng rng(5);
  for (int i = 0; i < 100000; ++i) {
    const auto bits = static_cast<std::uint16_t>(rng.Below(0x7f7f));
    const double low = Bf16ToFloat(bits);
    const double high = Bf16ToFloat(static_cast<std::uint16_t>(bits + 1));
    const auto value = static_cast<float>(low + (high - low) * rng.Uniform());
    const double down = value - low;
    const double up = high - value;
    const std::uint32_t want = down < up || (down == up && bits % 2 == 0) ? bits : bits + 1u;
    ASSERT_EQ(FloatToBf16(value), want) << value;
  }
}

}  // namespace
}  // namespace marlin
