// A recorded decode step as one kernel, against the graph of its operations.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <ostream>
#include <span>
#include <vector>

#include "base/rng.h"
#include "formats/formats.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/random_matrix.h"

namespace marlin {
namespace {

struct StepShape {
  std::size_t hidden, heads, kv_heads, dim, wide;
  const char* format;
  std::size_t window = 0;
  float softcap = 0;
  bool biased = false;
  std::size_t steps = 40;
  Activation activation = Activation::kSilu;
};

void PrintTo(const StepShape& s, std::ostream* out) {
  *out << s.format << " hidden " << s.hidden << " heads " << s.heads << "/" << s.kv_heads << " x " << s.dim << " wide "
       << s.wide << " window " << s.window << " steps " << s.steps;
}

// Layers of a model, with the same random weights whatever backend they are on.
class StepModel {
 public:
  static constexpr std::size_t kLayers = 2;

  StepModel(Backend& backend, const StepShape& shape) : backend_(backend), s_(shape) {
    const std::size_t queries = s_.heads * s_.dim, keys = s_.kv_heads * s_.dim;
    for (std::size_t i = 0; i < kLayers; ++i) {
      layers_.push_back(
          {{Linear(queries, s_.hidden), Linear(keys, s_.hidden), Linear(keys, s_.hidden), Linear(s_.hidden, queries),
            Linear(s_.wide, s_.hidden), Linear(s_.wide, s_.hidden), Linear(s_.hidden, s_.wide)},
           {Tensor(1, queries), Tensor(1, keys), Tensor(1, keys)},
           Tensor(1, s_.hidden),
           Tensor(1, s_.hidden)});
    }
    const std::size_t pairs = s_.dim / 2;
    std::vector<float> cos(s_.steps * pairs), sin(cos.size());
    for (std::size_t i = 0; i < cos.size(); ++i) {
      const double angle =
          static_cast<double>(i / pairs) / std::pow(100.0, static_cast<double>(i % pairs) / static_cast<double>(pairs));
      cos[i] = static_cast<float>(std::cos(angle));
      sin[i] = static_cast<float>(std::sin(angle));
    }
    cos_ = Put(cos, s_.steps);
    sin_ = Put(sin, s_.steps);
    hidden_ = Tensor(1, s_.hidden), normed_ = Tensor(1, s_.hidden), projected_ = Tensor(1, s_.hidden);
    q_ = Tensor(1, queries), k_ = Tensor(1, keys), v_ = Tensor(1, keys), attention_ = Tensor(1, queries);
    gate_ = Tensor(1, s_.wide), up_ = Tensor(1, s_.wide);
    buffers_.push_back(*backend_.Allocate(1, ElementType::kI32));
    position_ = View(buffers_.back(), 1, 1, ElementType::kI32);
    cache_ = *backend_.AllocateCache({s_.steps, std::vector<CacheLayer>(kLayers, {s_.kv_heads, s_.dim})});
  }

  // The hidden state, then its last norm.
  std::vector<float> Step(std::size_t position) {
    std::vector<float> hidden(s_.hidden);
    for (float& x : hidden) x = static_cast<float>(RandomValue(rng_));
    backend_.Upload(hidden, hidden_);
    backend_.Upload(std::vector<std::int32_t>{static_cast<std::int32_t>(position)}, position_);
    backend_.QueueRecorded(recording_, [&] {
      for (std::size_t i = 0; i < kLayers; ++i) QueueLayer(i);
      backend_.Norm({hidden_, layers_[0].norm, 1e-5f, normed_});
    });
    std::vector<float> out(2 * s_.hidden);
    EXPECT_TRUE(backend_.Read(hidden_, std::span(out).first(s_.hidden)).ok());
    EXPECT_TRUE(backend_.Read(normed_, std::span(out).subspan(s_.hidden)).ok());
    return out;
  }

  bool runs_chain() const { return recording_ != nullptr && recording_->kernel() == "cuda/chain-fp16"; }

 private:
  struct Layer {
    std::array<std::unique_ptr<Weight>, 7> weights;  // queries, keys, values, projection, gate, up, down
    std::array<DeviceTensor, 3> biases;
    DeviceTensor norm, second_norm;
  };

  std::unique_ptr<Weight> Linear(std::size_t rows, std::size_t cols) {
    const EncodedMatrix matrix = RandomEncoded(*FindFormat(s_.format), rows, cols, rng_);
    return *backend_.Pack(matrix.view());
  }
  DeviceTensor Put(const std::vector<float>& values, std::size_t rows) {
    buffers_.push_back(*backend_.Allocate(values.size()));
    const DeviceTensor tensor = View(buffers_.back(), rows, values.size() / rows);
    backend_.Upload(values, tensor);
    return tensor;
  }
  DeviceTensor Tensor(std::size_t rows, std::size_t cols) {
    std::vector<float> values(rows * cols);
    for (float& x : values) x = static_cast<float>(1 + 0.2 * RandomValue(rng_));
    return Put(values, rows);
  }

  void QueueLayer(std::size_t i) {
    const Layer& layer = layers_[i];
    const auto& w = layer.weights;
    const NormArgs norm = {hidden_, layer.norm, 1e-5f, normed_};
    const std::array<const Weight*, 3> inputs = {w[0].get(), w[1].get(), w[2].get()};
    const std::array<DeviceTensor, 3> heads = {q_, k_, v_};
    backend_.NormMatmul(norm, inputs, s_.biased ? layer.biases : std::array<DeviceTensor, 3>(), heads);
    const AppendArgs append = {cache_.get(), i, position_, k_, v_};
    backend_.RopeAppend({q_, s_.dim, cos_, sin_, position_}, {k_, s_.dim, cos_, sin_, position_}, append);
    const float scale = 1 / std::sqrt(static_cast<float>(s_.dim));
    backend_.Attention({q_, cache_.get(), i, s_.heads, position_, scale * 0.1f, s_.window, s_.softcap}, attention_);
    backend_.MatmulAdd(*w[3], {}, attention_, projected_, hidden_, 0.5f);
    const NormArgs second = {hidden_, layer.second_norm, 1e-5f, normed_};
    const std::array<const Weight*, 2> gated = {w[4].get(), w[5].get()};
    backend_.GatedMatmul({second, normed_, gate_, up_, s_.activation}, gated, {});
    backend_.MatmulAdd(*w[6], {}, gate_, projected_, hidden_, 1);
  }

  Backend& backend_;
  StepShape s_;
  Rng rng_{77};
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Layer> layers_;
  DeviceTensor cos_, sin_, hidden_, normed_, projected_, q_, k_, v_, attention_, gate_, up_, position_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Recording> recording_;
};

class CudaChain : public testing::TestWithParam<StepShape> {
 protected:
  void SetUp() override {
    if (CountCudaDevices() == 0) GTEST_SKIP() << "this machine has no CUDA device";
    auto chained = MakeCudaBackend(0, 1, Activations::kBf16, true),
         plain = MakeCudaBackend(0, 1, Activations::kBf16, false);
    ASSERT_TRUE(chained.ok() && plain.ok());
    if ((*chained)->rounding() != "fp16") GTEST_SKIP() << "the device does not round products";
    chained_ = *std::move(chained);
    plain_ = *std::move(plain);
  }
  std::unique_ptr<Backend> chained_, plain_;
};

// Sums have other orders, and softmax weights other peaks: numbers that are rounded to fp16 differ in their last bit.
TEST_P(CudaChain, GivesTheNumbersOfItsOperations) {
  StepModel model(*chained_, GetParam()), want_model(*plain_, GetParam());
  for (std::size_t position = 0; position < GetParam().steps; ++position) {
    const std::vector<float> got = model.Step(position), want = want_model.Step(position);
    double squares = 0;
    for (const float x : want) squares += static_cast<double>(x) * x / static_cast<double>(want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 0.01 * std::sqrt(squares)) << "position " << position << " number " << i;
    }
  }
  EXPECT_TRUE(model.runs_chain());
  EXPECT_FALSE(want_model.runs_chain());
}

TEST_P(CudaChain, GivesTheSameBitsAgain) {
  StepModel model(*chained_, GetParam()), again(*chained_, GetParam());
  for (std::size_t position = 0; position < 20; ++position) ASSERT_EQ(model.Step(position), again.Step(position));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaChain,
    testing::Values(StepShape{256, 4, 2, 64, 512, "fp4-g128"}, StepShape{640, 8, 2, 128, 1408, "fp4-g128"},
                    StepShape{1024, 8, 1, 128, 2048, "fp4-g128", 20, 30, true, 60, Activation::kGeluTanh},
                    StepShape{512, 8, 8, 64, 1024, "fp4-g32", 0, 0, true, 600},
                    StepShape{2048, 16, 4, 128, 5632, "fp4-g128", 0, 0, false, 300},
                    StepShape{576, 9, 3, 64, 1536, "fp4-g64"}, StepShape{576, 9, 3, 64, 1536, "int4-g64"},
                    StepShape{1024, 8, 2, 128, 2816, "fp4-g256"}, StepShape{1024, 8, 2, 128, 2816, "int4-g128"}));

}  // namespace
}  // namespace marlin
