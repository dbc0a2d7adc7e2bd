#include "files/folder_reader.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/rng.h"
#include "files/checkpoint.h"
#include "files/quantized_checkpoint.h"
#include "files/quantized_layout.h"
#include "files/test_files.h"
#include "formats/formats.h"

namespace marlin {
namespace {
using nlohmann::json;

// A matrix of each format that a container holds, with scales that every type holds.
class FolderReader : public TemporaryFolder {
 protected:
  static EncodedMatrix Noise(const FormatRow& format, std::size_t rows, std::size_t cols) {
    Rng rng(rows + cols);
    EncodedMatrix matrix(format, rows, cols);
    std::vector<std::uint32_t> codes(cols);
    const std::uint32_t mask = format.info.code_bits == 8 ? 0xff : 0xf;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::uint32_t& code : codes) code = static_cast<std::uint32_t>(rng.Next()) & mask;
      SetCodes(matrix, row, 0, codes);
      for (std::size_t group = 0; group < GroupsPerRow(format.info, cols); ++group) {
        const auto zero = static_cast<std::uint8_t>(format.info.zero_point_bits != 0 ? (row + group) % 16
                                                                                     : format.info.fixed_zero_point);
        GroupParams params{.scale = PowerOfTwo(-3 - static_cast<int>(group)), .zero_point = zero};
        if (HasBias(format.info)) params.bias = -2 * params.scale;
        if (format.info.unit_scope == UnitScope::kMatrix) params.scale_unit = FloatToHalf(0x1p-12f);
        SetParams(matrix, row, group, params);
      }
    }
    return matrix;
  }

  QuantizedPlan Plan(FolderLayout layout, DType number) {
    QuantizedPlan plan;
    plan.layout = layout;
    plan.number = number;
    plan.config = {{"model_type", "llama"}};
    for (const FormatRow& row : Formats()) {
      if (!HasGroups(row.info) || !Holds(layout, row.info)) continue;
      matrices_.push_back(Noise(row, 9, 256));
      plan.weights.push_back({"layers." + std::string(row.info.name), &row, DType::kF16, {9, 256}});
    }
    return plan;
  }

  void WriteFolder(FolderLayout layout, DType number) {
    matrices_.clear();
    const QuantizedPlan plan = Plan(layout, number);
    auto writer = QuantizedWriter::Create(folder_ / "out", true, plan);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    for (std::size_t i = 0; i < matrices_.size(); ++i) {
      ASSERT_TRUE(writer->Write(plan.weights[i].name, matrices_[i].view()).ok());
    }
    ASSERT_TRUE(writer->Commit().ok());
  }

  // Opens the folder after a change of its configuration.
  void ExpectError(const json& config, const std::string& part) const {
    ASSERT_TRUE(WriteFileAtomic(folder_ / "out" / "config.json", config.dump()).ok());
    const auto opened = OpenCheckpoint(folder_ / "out");
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
  }
  json Config() const { return json::parse(Slurp(folder_ / "out" / "config.json")); }

  std::vector<EncodedMatrix> matrices_;
};

bool SameBytes(std::span<const std::uint8_t> a, const std::vector<std::uint8_t>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST_F(FolderReader, GivesTheMatricesThatWereWritten) {
  for (const FolderLayout layout : {FolderLayout::kCompressedTensors, FolderLayout::kMlx}) {
    for (const DType number : {DType::kF16, DType::kBF16, DType::kF32}) {
      WriteFolder(layout, number);
      const auto opened = OpenCheckpoint(folder_ / "out");
      ASSERT_TRUE(opened.ok()) << opened.error().message;
      for (const EncodedMatrix& want : matrices_) {
        const auto got = FindEncoded(*opened, "layers." + std::string(want.format->info.name));
        ASSERT_TRUE(got.ok()) << got.error().message;
        EXPECT_EQ(got->format, want.format);
        EXPECT_TRUE(SameBytes(got->codes, want.codes)) << want.format->info.name;
        EXPECT_TRUE(SameBytes(got->scales, want.scales)) << want.format->info.name;
        EXPECT_TRUE(SameBytes(got->zero_points, want.zero_points)) << want.format->info.name;
      }
    }
  }
}

// Without this program's own entry the groups of the configuration tell the formats.
TEST_F(FolderReader, ReadsCompressedTensorsOfOthers) {
  WriteFolder(FolderLayout::kCompressedTensors, DType::kF16);
  json config = Config();
  EXPECT_EQ(config["quantization_config"]["format"], "mixed-precision");
  config["quantization_config"].erase("metal_marlin");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "out" / "config.json", config.dump()).ok());
  const auto opened = OpenCheckpoint(folder_ / "out");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  for (const EncodedMatrix& want : matrices_) {
    const auto got = FindEncoded(*opened, "layers." + std::string(want.format->info.name));
    ASSERT_TRUE(got.ok()) << want.format->info.name << ": " << got.error().message;
    EXPECT_EQ(got->format, want.format);
    EXPECT_TRUE(SameBytes(got->codes, want.codes)) << want.format->info.name;
  }
}

TEST_F(FolderReader, SettingsOfMlxMustBeThoseOfThePlan) {
  WriteFolder(FolderLayout::kMlx, DType::kF16);
  const json config = Config();
  json wrong = config;
  wrong["quantization"]["layers.q8_0"]["bits"] = 4;
  ExpectError(wrong, "\"quantization\" gives layers.q8_0 the bits 4, and q8_0 wants 8");
  wrong = config;
  wrong.erase("quantization");
  ExpectError(wrong, "config.json has no \"quantization\"");
  wrong = config;
  wrong["quantization_config"]["metal_marlin"]["plan"]["layers.q8_0"] = "fp4-g32";
  ExpectError(wrong, "layers.q8_0 has the format fp4-g32, which MLX does not hold");
  wrong = config;
  wrong["quantization_config"]["metal_marlin"]["plan"].erase("layers.q8_0");
  ExpectError(wrong, "the plan does not name the format of layers.q8_0");
  wrong = config;
  wrong["quantization_config"]["metal_marlin"]["plan"]["layers.q8_0"] = "int8-g128";
  wrong["quantization"]["layers.q8_0"]["group_size"] = 128;
  ExpectError(wrong, "tensor layers.q8_0.scales is F16 [9, 8], want F16 [9, 2]");
  wrong = config;
  wrong["quantization_config"].erase("metal_marlin");
  ExpectError(wrong, "quantized");
}

TEST_F(FolderReader, BiasesThatNoZeroPointGivesAreNamed) {
  WriteFolder(FolderLayout::kMlx, DType::kF16);
  json config = Config();
  // The scales and biases of groups with zero points are not those of symmetric ones.
  config["quantization_config"]["metal_marlin"]["plan"]["layers.int4-g64"] = "int4-g64";
  const std::string path = folder_ / "out" / "model.safetensors";
  std::string bytes = Slurp(path);
  const std::size_t header = 8 + static_cast<std::uint8_t>(bytes[0]) + 256 * static_cast<std::uint8_t>(bytes[1]) +
                             65536 * static_cast<std::uint8_t>(bytes[2]);
  const json layout = json::parse(bytes.substr(8, header - 8));
  const std::size_t at = header + layout["layers.int4-g64.biases"]["data_offsets"][0].get<std::size_t>();
  bytes[at + 2] = 0x01;
  Write("out/model.safetensors", bytes);
  ExpectError(config, "tensor layers.int4-g64.scales, row 0, group 1: scale ");
}

}  // namespace
}  // namespace marlin
