// Used by tools/check_gptq.py, which puts a layer into a folder and reads the codes back.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "files/safetensors.h"
#include "files/safetensors_writer.h"
#include "formats/formats.h"
#include "quantize/gptq.h"
#include "quantize/mse.h"
#include "quantize/test_statistics.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

std::vector<float> ReadFloats(const SafetensorsFile& file, std::string_view name, std::size_t& rows,
                              std::size_t& cols) {
  for (const Tensor& tensor : file.tensors) {
    if (tensor.name != name) continue;
    rows = tensor.rows();
    cols = tensor.cols();
    std::vector<float> values(rows * cols);
    EXPECT_TRUE(DecodeRows(tensor, 0, {values.data(), rows, cols}).ok());
    return values;
  }
  ADD_FAILURE() << "input.safetensors has no " << name;
  return {};
}

struct Output {
  std::vector<PlannedTensor> plan;
  std::vector<std::vector<std::uint8_t>> bytes;
  std::map<std::string, std::string> errors;  // reconstruction error by "FORMAT.METHOD"

  void Add(const std::string& name, DType dtype, std::size_t rows, std::size_t cols, std::vector<std::uint8_t> data) {
    plan.push_back({name, dtype, {rows, cols}});
    bytes.push_back(std::move(data));
  }
};

// Codes a byte each, scales as fp16, zero points a byte each.
void AddMatrix(const std::string& name, const EncodedMatrix& matrix, Output& output) {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> zeros;
  const std::size_t groups = matrix.view().groups();
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    std::vector<std::uint32_t> codes(matrix.cols);
    GetCodes(matrix.view(), r, 0, codes);
    bytes.insert(bytes.end(), codes.begin(), codes.end());
    for (std::size_t g = 0; g < groups; ++g) zeros.push_back(GetParams(matrix.view(), r, g).zero_point);
  }
  output.Add(name + ".codes", DType::kU8, matrix.rows, matrix.cols, std::move(bytes));
  output.Add(name + ".scales", DType::kF16, matrix.rows, groups, matrix.scales);
  output.Add(name + ".zero_points", DType::kU8, matrix.rows, groups, std::move(zeros));
}

TEST(GptqFiles, ServeTheCheckInPython) {
  const char* const folder = std::getenv("METAL_MARLIN_GPTQ_FOLDER");
  if (folder == nullptr) GTEST_SKIP() << "tools/check_gptq.py sets METAL_MARLIN_GPTQ_FOLDER";
  const auto input = OpenSafetensors(fs::path(folder) / "input.safetensors");
  ASSERT_TRUE(input.ok()) << input.error().message;
  std::size_t n = 0;
  std::size_t k = 0;
  std::size_t tokens = 0;
  const std::vector<float> weights = ReadFloats(*input, "weight", n, k);
  const std::vector<float> x = ReadFloats(*input, "inputs", tokens, k);
  ThreadPool pool(AvailableThreads());
  InputStatistics stats;
  ASSERT_TRUE(Accumulate(stats, {x.data(), tokens, k}, pool, true).ok());
  const auto factor = FactorHessian(stats, pool);
  ASSERT_TRUE(factor.ok()) << factor.error().message;
  const MatrixView<const float> view(weights.data(), n, k);
  Output output;
  for (const FormatRow& format : Formats()) {
    if (format.info.group == 0 || !FitsRows(format.info, k)) continue;
    const std::string name(format.info.name);
    const auto add = [&](const std::string& method, const EncodedMatrix& matrix) {
      AddMatrix(name + "." + method, matrix, output);
      output.errors[name + "." + method] = std::to_string(ReconstructionError(view, matrix.view(), stats, pool));
    };
    add("rtn", Encode(format, view, pool));
    add("mse", EncodeMse(format, view, factor->importance, pool));
    add("gptq", EncodeGptq(format, view, *factor, pool));
  }
  const auto* const gram = reinterpret_cast<const std::uint8_t*>(stats.gram.data());
  output.Add("gram", DType::kF32, k, k, {gram, gram + k * k * sizeof(float)});
  output.errors["damping"] = std::to_string(factor->damping);
  auto writer = SafetensorsWriter::Create(folder, output.plan, output.errors);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (std::size_t i = 0; i < output.plan.size(); ++i) {
    ASSERT_TRUE(writer->Write(output.plan[i].name, output.bytes[i]).ok());
  }
  ASSERT_TRUE(writer->Commit().ok());
}

}  // namespace
}  // namespace marlin
