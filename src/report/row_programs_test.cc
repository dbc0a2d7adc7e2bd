#include "report/row_programs.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "formats/encoded_matrix.h"
#include "formats/formats.h"
#include "records/test_records.h"
#include "report/test_page.h"

namespace marlin {
namespace {

constexpr std::uint64_t kWeights = 1 << 20;

// Of so many weights in whole groups.
std::uint64_t BytesIn(double bits_per_weight) {
  return static_cast<std::uint64_t>(static_cast<double>(kWeights) * bits_per_weight / 8);
}

std::string ProgramsOfParts(const std::vector<BytesOfFormat>& parts, std::uint64_t weights = kWeights) {
  return ProgramsText(RuntimesOf(parts, weights));
}

TEST(RowPrograms, TheFormatDecides) {
  EXPECT_EQ(ProgramsOfParts({{"int4-g128", BytesIn(4 + 20.0 / 128)}}), "llama.cpp (5 bits), MLX (4.25 bits), vLLM");
  EXPECT_EQ(ProgramsOfParts({{"q8_0", BytesIn(8.5)}}), "llama.cpp, MLX (9 bits)");
  EXPECT_EQ(ProgramsOfParts({{"q6_k", BytesIn(6.5625)}}), "llama.cpp");
  EXPECT_EQ(ProgramsOfParts({{"nvfp4", BytesIn(4.5)}}), "vLLM");
  EXPECT_EQ(ProgramsOfParts({{"fp4-g64", BytesIn(4.25)}}), kThisProgramOnly);
  EXPECT_EQ(ProgramsOfParts({{"q9_9", BytesIn(4.25)}}), "");
  EXPECT_EQ(ProgramsOfParts({{"bf16", 2 * kWeights}}), "") << "not quantized";
  EXPECT_EQ(ProgramsOfParts({}), "");
}

TEST(RowPrograms, EveryFormatOfAPlanMustRun) {
  const std::uint64_t half = kWeights / 2;
  const std::uint64_t int4 = half * 276 / 512;  // 4.3125 bits
  EXPECT_EQ(ProgramsOfParts({{"int4-g64", int4}, {"q4_0", half * 9 / 16}}),
            "llama.cpp (4.75 bits), MLX (4.75 bits), vLLM");
  EXPECT_EQ(ProgramsOfParts({{"int4-g64", int4}, {"q8_0", half * 17 / 16}}), "llama.cpp (6.75 bits), MLX (6.75 bits)");
  EXPECT_EQ(ProgramsOfParts({{"int4-g64", int4}, {"fp4-g64", half * 17 / 32}}), kThisProgramOnly);
  EXPECT_EQ(ProgramsOfParts({{"nvfp4", half * 9 / 16}, {"q4_1", half * 5 / 8}}), kThisProgramOnly)
      << "each runs somewhere, both nowhere";
  EXPECT_EQ(ProgramsOfParts({{"int4-g64", int4}, {"q9_9", half}}), "");
}

// Rows of 576 weights: four groups of 128 and one of 64.
TEST(RowPrograms, SizesShowShortGroups) {
  const std::uint64_t rows = 1000;
  const std::vector<BytesOfFormat> of_128 = {{"int4-g128", rows * 576 / 2 + rows * 5 * 20 / 8}};
  EXPECT_FALSE(GroupsAreWhole(of_128, rows * 576));
  EXPECT_EQ(ProgramsOfParts(of_128, rows * 576), "llama.cpp (5 bits)")
      << "blocks of 32 divide them, whole groups do not";
  const std::vector<BytesOfFormat> of_64 = {{"int4-g64", rows * 576 / 2 + rows * 9 * 20 / 8}};
  EXPECT_TRUE(GroupsAreWhole(of_64, rows * 576));
  const std::vector<BytesOfFormat> of_q4_0 = {{"q4_0", rows * (584 / 2 + 19 * 2)}};
  EXPECT_EQ(ProgramsOfParts(of_q4_0, rows * 584), kThisProgramOnly);
}

// Which runtimes hold rows of a length is the same by the length and by the size that it gives.
TEST(RowPrograms, RowsOfOneLengthAgreeWithSizes) {
  for (const FormatRow& format : Formats()) {
    const FormatInfo& info = format.info;
    if (!HasGroups(info) || info.unit_scope != UnitScope::kNone) continue;
    for (const std::size_t cols : {512u, 576u, 584u, 1536u}) {
      const std::vector<BytesOfFormat> parts = {{info.name, SizeOfEncoded(info, 64, cols).total()}};
      EXPECT_EQ(GroupsAreWhole(parts, 64 * cols), cols % static_cast<std::size_t>(info.group) == 0) << info.name;
      const Runtimes by_size = *RuntimesOf(parts, 64 * cols);
      for (const Runtime& runtime : kRuntimes) {
        if (cols % runtime.row_multiple != 0) {
          EXPECT_FALSE(RunsRows(runtime, info, cols)) << "sizes do not show it";
        } else if (cols % 32 == 0 || info.group == 32) {  // nor whether 32 divides longer groups
          EXPECT_EQ(RunsRows(runtime, info, cols), std::ranges::count(by_size, &runtime, &RowRuntime::runtime) == 1)
              << info.name << cols;
        }
      }
    }
  }
}

// A baseline and rows of these records.
std::string ProgramsOnPage(const std::vector<Record>& given, const std::string& name) {
  std::vector<StoredRecord> records = {test::Stored(test::MakeRecord({}, test::BaselineShape()))};
  for (const Record& record : given) records.push_back(test::Stored(record));
  return test::CellUnder(PageOf(records), kRunsInTitle, name);
}

Record RecordOf(const std::string& config, double bits) {
  test::Shape shape;
  shape.config = config;
  shape.bits_per_weight = bits;
  return test::MakeRecord({}, shape);
}

Record Planned(const std::vector<record::PlanUnit>& units) {
  Record record = RecordOf("mixed", 4.3125);
  record.config.kind = record::Kind::kMixed;
  record.config.plan_sha256 = Sha256Hex("plan");
  record.plan = record::Plan{{"wikitext2", Sha256Hex("text"), 16, 512}, "mse", "fp4-g128", units};
  return record;
}

TEST(RowPrograms, ThePageSaysItOfEachRow) {
  EXPECT_EQ(ProgramsOnPage({RecordOf("int4-g64", 4.3125)}, "int4-g64"), "llama.cpp (5 bits), MLX (4.5 bits), vLLM");
  EXPECT_EQ(ProgramsOnPage({RecordOf("fp4-g32", 4.5)}, "fp4-g32"), kThisProgramOnly);
  EXPECT_EQ(ProgramsOnPage({}, "f16 (dequantized from Q4_1)"), kAsTheOriginal);
  EXPECT_EQ(ProgramsOnPage({RecordOf("later-g32", 4.5)}, "later-g32"), "-") << "no format of this program";
}

TEST(RowPrograms, APlanSaysItOfAMixedRow) {
  const record::PlanUnit int4 = {0, "q k v", "int4-g64", 1000, 0.001, 0.002};
  const record::PlanUnit int8 = {0, "down", "int8-g128", 1000, 0.001, 0.002};
  const record::PlanUnit kept = {0, "o", std::string(record::kKeptUnit), 4000, 0, 0.002};
  EXPECT_EQ(ProgramsOnPage({Planned({int4, int8, kept})}, "mixed"), "llama.cpp (6.21 bits), MLX (5.8 bits), vLLM");
  EXPECT_EQ(ProgramsOnPage({Planned({int4, {0, "o", "fp4-g32", 1000, 0, 0}})}, "mixed"), kThisProgramOnly);
  EXPECT_EQ(ProgramsOnPage({Planned({int4, {0, "o", "later-g32", 1000, 0, 0}})}, "mixed"), "-");
  EXPECT_EQ(ProgramsOnPage({Planned({kept})}, "mixed"), "-");
  Record without = Planned({int4});
  without.plan.reset();
  EXPECT_EQ(ProgramsOnPage({without}, "mixed"), "-");
  Record head = Planned({int4});
  head.config.quantized_head = true;
  EXPECT_EQ(ProgramsOnPage({head}, "mixed + head"), "-") << "the plan does not say its format";
}

TEST(RowPrograms, OtherRowsShowWhichLengthsRowsHave) {
  const Record int4 = RecordOf("int4-g64", 4.3125);
  EXPECT_EQ(ProgramsOnPage({int4, RecordOf("fp4-g128", 4.125)}, "int4-g64"),
            "llama.cpp (5 bits), MLX (4.5 bits), vLLM");
  EXPECT_EQ(ProgramsOnPage({int4, RecordOf("fp4-g128", 4.139)}, "int4-g64"), "llama.cpp (5 bits), MLX (4.5 bits)")
      << "rows are no multiples of 128, which vLLM wants";
  Record fewer = RecordOf("fp4-g128", 4.139);
  fewer.size.quantized_parameters /= 2;
  fewer.size.quantized_tensor_bytes /= 2;
  EXPECT_EQ(ProgramsOnPage({int4, fewer}, "int4-g64"), "llama.cpp (5 bits), MLX (4.5 bits), vLLM")
      << "of other tensors";
  const Record unit = RecordOf("mlx-nvfp4", 4.5);
  EXPECT_EQ(ProgramsOnPage({unit, RecordOf("fp4-g64", 4.25)}, "mlx-nvfp4"), "llama.cpp, MLX");
  EXPECT_EQ(ProgramsOnPage({unit, RecordOf("fp4-g64", 4.26)}, "mlx-nvfp4"), "MLX") << "blocks of 64 in GGUF";
}

TEST(RowPrograms, EmbeddingsStayInSixteenBitsForVllm) {
  Record record = RecordOf("int4-g64", 4.3125);
  record.config.quantized_embeddings = true;
  EXPECT_EQ(ProgramsOnPage({record}, "int4-g64 + embeddings"), "llama.cpp (5 bits), MLX (4.5 bits)");
}

TEST(RowPrograms, AnotherProgramsFileSaysNothing) {
  Record record = RecordOf("q4_0", 4.5);
  record.config.kind = record::Kind::kImported;
  record.config.method = "imported";
  EXPECT_EQ(ProgramsOnPage({record}, "q4_0"), "-");
}

}  // namespace
}  // namespace marlin
