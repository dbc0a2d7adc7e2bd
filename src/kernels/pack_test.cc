#include "kernels/pack.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/random_matrix.h"

namespace marlin {
namespace {

Result<PackedMatrix> PackByTwo(const EncodedMatrixView& matrix) {
  static ThreadPool pool(3);
  static RegionPool memory;
  return Pack(matrix, memory, pool);
}

TEST(Pack, EveryRowDecodesToTheSameBits) {
  Rng rng(1);
  for (const FormatRow& format : Formats()) {
    for (const std::size_t wanted : {1u, 7u, 130u, 172u, 257u, 576u}) {
      const std::size_t cols = FittingCols(format.info, wanted);
      for (const std::size_t rows : {1u, 63u, 64u, 65u, 192u}) {
        SCOPED_TRACE(testing::Message() << format.info.name << " " << rows << " x " << cols);
        const EncodedMatrix matrix = RandomEncoded(format, rows, cols, rng);
        const Result<PackedMatrix> packed = PackByTwo(matrix.view());
        ASSERT_TRUE(packed.ok()) << packed.error().message;
        std::vector<float> want(cols), got(cols, NAN);
        for (std::size_t r = 0; r < rows; ++r) {
          DecodeRow(matrix.view(), r, want);
          DecodePackedRow(*packed, r, got);
          ASSERT_EQ(std::memcmp(want.data(), got.data(), cols * sizeof(float)), 0) << r;
        }
      }
    }
  }
}

// Every byte of the packed matrix is either written from the source or padding of value zero: weight zero in rows
// that exist, all bits zero in rows that do not.
TEST(Pack, PaddingDecodesToZero) {
  Rng rng(2);
  for (const FormatRow& format : Formats()) {
    if (format.info.code_bits == 32 || !FitsRows(format.info, 257)) continue;  // never padded
    const EncodedMatrix matrix = RandomEncoded(format, 65, 257, rng);
    const Result<PackedMatrix> packed = PackByTwo(matrix.view());
    ASSERT_TRUE(packed.ok());
    const PanelGeometry& geometry = packed->geometry;
    const std::size_t last = geometry.groups - 1;
    const std::size_t length = geometry.GroupLength(last);
    ASSERT_NE(length % 8, 0u);
    std::uint32_t codes[8];
    const std::span<std::uint32_t> padding(codes, 8 - length % 8);
    for (std::size_t row = 0; row < 128; ++row) {
      GetPackedCodes(geometry, packed->memory.data(), row, last, length, padding);
      const GroupParams params = GetPackedParams(geometry, packed->memory.data(), row, last);
      for (const std::uint32_t code : padding) EXPECT_EQ(code, params.zero_point);
      if (row < 65) continue;
      EXPECT_EQ(params.scale, 0);
      EXPECT_EQ(params.bias, 0);
      EXPECT_EQ(params.zero_point, 0);
    }
  }
}

TEST(Pack, BytesFollowThePicture) {
  const FormatRow& format = **ParseFormat("int4-g64");
  EncodedMatrix matrix(format, 2, 8);
  const std::uint32_t codes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  SetCodes(matrix, 1, 0, codes);
  SetParams(matrix, 1, 0, {.scale = 1, .zero_point = 9});
  const Result<PackedMatrix> packed = PackByTwo(matrix.view());
  ASSERT_TRUE(packed.ok());
  ASSERT_EQ(packed->geometry.bytes(), 128u + 64u + 256u);
  const std::uint8_t* bytes = packed->memory.data();
  EXPECT_EQ(bytes[2], 0x00);
  EXPECT_EQ(bytes[3], 0x3c);
  EXPECT_EQ(bytes[128 + 1], 9);
  const std::uint8_t want[4] = {0x51, 0x62, 0x73, 0x84};
  EXPECT_EQ(std::memcmp(bytes + 192 + 4, want, 4), 0);
}

TEST(Pack, StartsAreAlignedForEveryFormat) {
  for (const FormatRow& format : Formats()) {
    const PanelGeometry geometry = MakeGeometry(format.info, 65, 1000);
    EXPECT_EQ(geometry.group_bytes % 64, 0u) << format.info.name;
    EXPECT_EQ(geometry.panel_bytes % 64, 0u) << format.info.name;
    EXPECT_EQ(geometry.code_offset % 64, 0u) << format.info.name;
  }
}

TEST(Pack, RefusesAnEmptyMatrix) {
  const EncodedMatrix matrix(Formats()[0], 0, 5);
  const Result<PackedMatrix> packed = PackByTwo(matrix.view());
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.error().code, ErrorCode::kUnsupported);
}

TEST(Region, IsZeroedAlignedAndRefusesTheImpossible) {
  const Result<Region> small = Region::Allocate(100, "a test");
  ASSERT_TRUE(small.ok());
  for (std::size_t i = 0; i < 100; ++i) ASSERT_EQ(small->data()[i], 0);
  const Result<Region> large = Region::Allocate(std::size_t{5} << 20, "a test");
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large->data()) % (std::size_t{2} << 20), 0u);
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX - 5000, SIZE_MAX / 2}) {
    const Result<Region> impossible = Region::Allocate(bytes, "a test");
    ASSERT_FALSE(impossible.ok());
    EXPECT_EQ(impossible.error().code, ErrorCode::kResource);
    EXPECT_NE(impossible.error().message.find("a test"), std::string::npos);
  }
}

TEST(RegionPool, RegionsAreApartZeroedAndOutliveThePool) {
  std::vector<Region> regions;
  {
    RegionPool pool;
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{64}, RegionPool::kPoolBytes / 4,
                                    RegionPool::kPoolBytes / 4 + 1, std::size_t{3000}}) {
      Result<Region> region = pool.Allocate(bytes, "a test");
      ASSERT_TRUE(region.ok());
      regions.push_back(*std::move(region));
    }
    EXPECT_EQ(regions[1].data(), regions[0].data() + 64);
    EXPECT_EQ(regions[2].data(), regions[0].data() + 192);
    EXPECT_EQ(regions[5].data(), regions[3].data() + RegionPool::kPoolBytes / 4);
  }
  for (const Region& region : regions) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.data()) % 64, 0u);
    for (std::size_t i = 0; i < region.size(); ++i) ASSERT_EQ(region.data()[i], 0);
    std::memset(region.data(), 0xAB, region.size());
  }
  for (const Region& region : regions) EXPECT_EQ(region.data()[region.size() - 1], 0xAB);
}

TEST(RegionPool, GoesOnInANewStretchAndRefusesTheImpossible) {
  RegionPool pool;
  std::vector<Region> regions;
  for (int i = 0; i < 6; ++i) {
    Result<Region> region = pool.Allocate(RegionPool::kPoolBytes / 5, "a test");
    ASSERT_TRUE(region.ok());
    region->data()[region->size() - 1] = 1;
    regions.push_back(*std::move(region));
  }
  const auto gap = regions[5].data() - regions[4].data();
  EXPECT_GE(static_cast<std::size_t>(gap < 0 ? -gap : gap), RegionPool::kPoolBytes / 5);
  EXPECT_EQ(pool.Allocate(SIZE_MAX, "a test").error().code, ErrorCode::kResource);
  EXPECT_EQ(pool.Allocate(0, "a test").error().code, ErrorCode::kResource);
}

}  // namespace
}  // namespace marlin
