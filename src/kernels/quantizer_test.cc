// What methods of quantization do on devices: CUDA against the glass device, which calls the same functions on the
// host. Bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kernels/random_matrix.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {

constexpr std::size_t kRows = 67;

// The tensors of a matrix with random weights, params and codes on one device, made alike on each.
class Tensors {
 public:
  Tensors(Backend& device, const FormatRow& format, std::size_t k) : device_(device), rng_(k + format.info.id) {
    const EncodedMatrix encoded = RandomEncoded(format, kRows, k, rng_);
    const std::size_t groups = GroupsPerRow(format.info, k);
    std::vector<std::int32_t> codes(k * kRows);
    std::vector<GroupParams> params(kRows * groups);
    std::vector<std::uint32_t> row(k);
    std::vector<float> weights(k * kRows), decoded(k);
    for (std::size_t r = 0; r < kRows; ++r) {
      GetCodes(encoded.view(), r, 0, row);
      DecodeRow(encoded.view(), r, decoded);
      for (std::size_t g = 0; g < groups; ++g) {
        params[r * groups + g] = GetParams(encoded.view(), r, g);
      }
      for (std::size_t j = 0; j < k; ++j) {
        codes[j * kRows + r] = static_cast<std::int32_t>(row[j]);
        weights[j * kRows + r] = decoded[j] + static_cast<float>(0.02 * rng_.Normal());
      }
    }
    matrix_.format = &format;
    matrix_.weights = Put(k, kRows, weights);
    matrix_.codes = Put(k, kRows, codes);
    matrix_.params = Allocate(kRows, groups * kParamWords, ElementType::kI32);
    device_.Upload(params, matrix_.params);
  }

  const CodedTensors& matrix() const { return matrix_; }
  Rng& rng() { return rng_; }

  DeviceTensor Allocate(std::size_t rows, std::size_t cols, ElementType type) {
    buffers_.push_back(*device_.Allocate(rows * cols, type));
    return View(buffers_.back(), rows, cols, type);
  }
  template <class T>
  DeviceTensor Put(std::size_t rows, std::size_t cols, const std::vector<T>& values) {
    const DeviceTensor tensor = Allocate(rows, cols, TypeOfElement<T>());
    device_.Upload(values, tensor);
    return tensor;
  }
  template <class T>
  DeviceTensor PutRandom(std::size_t rows, std::size_t cols, double scale, double mean = 0) {
    std::vector<T> values(rows * cols);
    for (T& value : values) value = static_cast<T>(mean + scale * rng_.Normal());
    return Put(rows, cols, values);
  }
  // All bits of a tensor, but those between the members of params.
  std::vector<std::byte> Bits(const DeviceTensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes());
    MARLIN_CHECK(device_.Read(tensor, bytes).ok(), "what a test reads");
    if (tensor.buffer != matrix_.params.buffer) return bytes;
    std::vector<std::byte> members;
    const auto add = [&](const auto& member) {
      std::ranges::copy(std::as_bytes(std::span(&member, 1)), std::back_inserter(members));
    };
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(GroupParams)) {
      GroupParams params;
      std::memcpy(&params, bytes.data() + i, sizeof params);
      add(params.scale);
      add(params.bias);
      add(params.scale_unit);
      add(params.bias_unit);
      add(params.zero_point);
    }
    return members;
  }

 private:
  Backend& device_;
  Rng rng_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  CodedTensors matrix_;
};

class QuantizerOf : public testing::TestWithParam<const FormatRow*> {
 protected:
  void SetUp() override {
    cuda_ = DeviceOfCase("cuda");
    if (cuda_ == nullptr) GTEST_SKIP() << "this machine has no CUDA device";
  }
  // run(device, tensors) gives the tensors that it wrote.
  template <class Run>
  void ExpectTheSame(std::size_t k, Run run) {
    std::vector<std::vector<std::byte>> results[2];
    Backend* const devices[] = {glass_.get(), cuda_.get()};
    for (int i = 0; i < 2; ++i) {
      Tensors tensors(*devices[i], *GetParam(), k);
      for (const DeviceTensor& written : run(*devices[i], tensors)) results[i].push_back(tensors.Bits(written));
    }
    EXPECT_TRUE(results[0] == results[1]) << GetParam()->info.name << ", " << k;
  }

  std::unique_ptr<Backend> glass_ = DeviceOfCase("glass"), cuda_;
};

INSTANTIATE_TEST_SUITE_P(AllFormats, QuantizerOf, testing::ValuesIn([] {
                           std::vector<const FormatRow*> formats;
                           for (const FormatRow& format : Formats()) {
                             if (HasGroups(format.info)) formats.push_back(&format);
                           }
                           return formats;
                         }()),
                         [](const auto& format) {
                           std::string name(format.param->info.name);
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Blocks of any width, columns in any order.
TEST_P(QuantizerOf, CudaRoundsAsTheHost) {
  const std::size_t k = FittingCols(GetParam()->info, 150);
  for (const std::size_t width : {1u, 37u, 128u}) {
    ExpectTheSame(k, [&](Backend& device, Tensors& tensors) {
      std::vector<std::int32_t> order(k);
      std::iota(order.begin(), order.end(), 0);
      for (std::size_t i = k; i-- > 1;) std::swap(order[i], order[tensors.rng().Below(i + 1)]);
      order.resize(width);
      const RoundBlockArgs args{tensors.matrix(),
                                tensors.Put(width, 1, order),
                                tensors.PutRandom<double>(width, 1, 0.05, 1),
                                tensors.PutRandom<double>(width, width, 0.1),
                                tensors.PutRandom<double>(width, kRows, 0.01),
                                tensors.Allocate(width, kRows, ElementType::kF64)};
      device.quantizer()->RoundBlock(args);
      const DeviceTensor bytes = tensors.Allocate(kRows, WordsOfCodes(k), ElementType::kI32);
      device.Clear(bytes);
      device.quantizer()->PackCodes(args.matrix, bytes);
      return std::vector<DeviceTensor>{args.matrix.codes, args.errors, bytes};
    });
  }
}

TEST_P(QuantizerOf, CudaDescendsAsTheHost) {
  const FormatInfo& info = GetParam()->info;
  const std::size_t block = std::max<std::size_t>(128, static_cast<std::size_t>(info.group));
  const std::size_t k = FittingCols(info, 2 * block - 39);
  for (const std::size_t low : {std::size_t{0}, block}) {
    ExpectTheSame(k, [&](Backend& device, Tensors& tensors) {
      const std::size_t width = std::min(block, k - low);
      std::vector<float> square(width * width);
      for (std::size_t i = 0; i < width; ++i) {
        square[i * width + i] = 2;
        for (std::size_t j = 0; j < i; ++j) {
          square[i * width + j] = square[j * width + i] = static_cast<float>(0.1 * tensors.rng().Normal());
        }
      }
      const DescendBlockArgs args{tensors.matrix(),
                                  low,
                                  tensors.Put(width, width, square),
                                  tensors.PutRandom<float>(width, kRows, 0.1),
                                  tensors.Allocate(k, kRows, ElementType::kF32),
                                  tensors.Allocate(1, 1, ElementType::kI32)};
      device.quantizer()->FindErrors(args.matrix, args.errors);
      device.Clear(args.changed);
      device.quantizer()->DescendBlock(args);
      return std::vector<DeviceTensor>{args.matrix.codes, args.matrix.params, args.errors, args.changed};
    });
  }
}

TEST(Quantizer, TransposesAnyShape) {
  for (const char* name : {"glass", "cuda"}) {
    const auto device = DeviceOfCase(name);
    if (device == nullptr) GTEST_SKIP() << "this machine has no CUDA device";
    for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{1, 1}, {33, 5}, {64, 32}, {100, 301}}) {
      std::vector<std::int32_t> values(rows * cols), got(rows * cols);
      std::iota(values.begin(), values.end(), -7);
      const auto from = *device->Allocate(values.size(), ElementType::kI32);
      const auto to = *device->Allocate(values.size(), ElementType::kI32);
      device->Upload(values, View(from, rows, cols, ElementType::kI32));
      device->quantizer()->Transpose(View(from, rows, cols, ElementType::kI32),
                                     View(to, cols, rows, ElementType::kI32));
      ASSERT_TRUE(device->Read(View(to, cols, rows, ElementType::kI32), got).ok());
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < cols; ++j) ASSERT_EQ(got[j * rows + i], values[i * cols + j]) << name;
      }
    }
  }
}

}  // namespace
}  // namespace marlin
