#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "base/utc.h"
#include "files/safetensors_writer.h"
#include "formats/formats.h"
#include "model/description.h"
#include "model/test_description.h"
#include "study/baseline_format.h"
#include "study/comparison.h"
#include "study/machine.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

TEST(Comparison, BaselinesAreNamedAfterTheirSource) {
  EXPECT_EQ(BaselineName("F16"), "f16");
  EXPECT_EQ(BaselineName("Q4_1"), "f16 (dequantized from Q4_1)");
  EXPECT_EQ(BaselineName("F32"), "f16 (rounded from F32)");
}

TEST(Comparison, GridsThatFlatterAreMarked) {
  const FormatInfo& int4 = FindFormat("int4-g64")->info;
  const FormatInfo& fp4 = FindFormat("fp4-g32")->info;
  const FormatInfo& int8 = FindFormat("int8-g128")->info;
  EXPECT_TRUE(SameGridAsSource("Q4_1", int4));
  EXPECT_TRUE(SameGridAsSource("Q8_0", int8));
  EXPECT_FALSE(SameGridAsSource("Q4_1", fp4));
  EXPECT_TRUE(SameGridAsSource("MXFP4", fp4)) << "E2M1 too";
  EXPECT_FALSE(SameGridAsSource("IQ4_NL", int4)) << "not evenly spaced";
  EXPECT_FALSE(SameGridAsSource("BF16", int4));
}

TEST(Machine, SaysWhatItIs) {
  const record::Machine machine = DescribeMachine(2);
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_FALSE(machine.os.empty());
  EXPECT_EQ(machine.threads, 2u);
  EXPECT_GT(machine.memory_bytes, 0u);
  EXPECT_GT(AvailableMemoryBytes(), 0u);
}

TEST(Utc, LooksLikeATime) {
  const std::string now = UtcNow();
  ASSERT_EQ(now.size(), 20u);
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now.back(), 'Z');
}

// What a baseline's kernels multiply is what was loaded, whatever the source calls it.
TEST(BaselineFormats, AreThoseOfTheLoadedWeights) {
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("{}_marlin_baseline_format", ::getpid());
  constexpr TestSizes kSizes = {4, 4, 1, 2, 2, 2, 4, 64, true};
  const auto format = [&](DType type, float value) {
    fs::remove_all(folder);
    fs::create_directories(folder);
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", TestConfig(kSizes).dump()).ok());
    std::vector<PlannedTensor> plan;
    const Description model = TestDescription(kSizes);
    for (const Matrix& matrix : model.blocks[0].matrices) {
      plan.push_back({matrix.name + ".weight", type, {4, 4}});
    }
    auto writer = SafetensorsWriter::Create(folder, plan);
    EXPECT_TRUE(writer.ok());
    std::vector<std::uint8_t> bytes(16 * (type == DType::kF32 ? 4 : 2));
    for (std::size_t i = 0; i < 16 && type == DType::kF32; ++i) std::memcpy(bytes.data() + 4 * i, &value, 4);
    for (const PlannedTensor& tensor : plan) EXPECT_TRUE(writer->Write(tensor.name, bytes).ok());
    EXPECT_TRUE(writer->Commit().ok());
    const auto checkpoint = OpenCheckpoint(folder);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    ThreadPool pool(2);
    const auto found = BaselineFormat(*checkpoint, pool);
    EXPECT_TRUE(found.ok()) << found.error().message;
    return std::string((*found)->info.name);
  };
  EXPECT_EQ(format(DType::kBF16, 0), "bf16");
  EXPECT_EQ(format(DType::kF16, 0), "fp16");
  EXPECT_EQ(format(DType::kF32, 0.5f), "bf16") << "exact";
  EXPECT_EQ(format(DType::kF32, 0.1f), "fp16");
  EXPECT_EQ(format(DType::kF32, 1.001e30f), "bf16") << "beyond fp16";
  fs::remove_all(folder);
}

}  // namespace
}  // namespace marlin
