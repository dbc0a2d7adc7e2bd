// Operations that do several others at once: the same bits as one after the other, on every backend.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernels/test_cpu.h"

namespace marlin {
namespace {

class TogetherTest : public CpuTest {
 protected:
  static Matrix Product(HostOperations& backend, const Weight& weight, const Matrix& x, const float* bias) {
    Matrix out(x.view.rows, weight.rows());
    backend.Matmul(std::array{&weight}, std::array{bias}, x.view, std::array{out.view});
    return out;
  }
  std::unique_ptr<Weight> Pack(HostOperations& backend, const char* format, std::size_t n, std::size_t k) {
    const EncodedMatrix matrix = RandomEncoded(*FindFormat(format), n, k, rng_);
    auto weight = backend.Pack(matrix.view());
    EXPECT_TRUE(weight.ok());
    return *std::move(weight);
  }
};

constexpr Activations kBoth[] = {Activations::kFp32, Activations::kBf16};

TEST_P(TogetherTest, MatmulAddIsMatmulAndAdd) {
  for (const Activations allowed : kBoth) {
    const auto backend = Make(2, allowed);
    for (const char* format : {"fp4-g128", "int4-g64", "q4_k", "fp32", "fp16", "bf16"}) {
      const auto weight = Pack(*backend, format, 200, 512);
      for (const std::size_t m : {1, 9, 16, 20, 70}) {
        for (const bool biased : {false, true}) {
          const Matrix x = RandomValues(m, 512, rng_), bias = RandomValues(1, 200, rng_);
          const float* const added = biased ? bias.data.data() : nullptr;
          Matrix want = RandomValues(m, 200, rng_), got(want);
          backend->Add(want.view, Product(*backend, *weight, x, added).view, 0.75f);
          backend->MatmulAdd(*weight, added, x.view, got.view, 0.75f);
          EXPECT_TRUE(SameBits(got, want)) << format << " m " << m << (biased ? " biased" : "");
        }
      }
    }
  }
}

// Three and more weights of one format or of several, of rows that fill tiles and that do not.
TEST_P(TogetherTest, WeightsTogetherAreOneAfterTheOther) {
  for (const Activations allowed : kBoth) {
    const auto backend = Make(2, allowed);
    const auto a = Pack(*backend, "fp4-g128", 1024, 2304), b = Pack(*backend, "fp4-g128", 64, 2304);
    const auto c = Pack(*backend, "fp4-g128", 77, 2304), d = Pack(*backend, "int4-g128", 320, 2304);
    const std::vector<std::vector<const Weight*>> sets = {{a.get(), b.get()},
                                                          {b.get(), c.get(), a.get()},
                                                          {a.get(), d.get(), b.get()},
                                                          {d.get(), d.get(), d.get(), c.get()}};
    for (const auto& weights : sets) {
      for (const std::size_t m : {1, 8, 13}) {
        const Matrix x = RandomValues(m, 2304, rng_), bias = RandomValues(1, 1024, rng_);
        std::vector<Matrix> outs;
        std::vector<MatrixView<float>> views;
        std::vector<const float*> biases;
        outs.reserve(weights.size());
        for (std::size_t i = 0; i < weights.size(); ++i) {
          views.push_back(outs.emplace_back(m, weights[i]->rows()).view);
          biases.push_back(i == 1 ? bias.data.data() : nullptr);
        }
        backend->Matmul(weights, biases, x.view, views);
        for (std::size_t i = 0; i < weights.size(); ++i) {
          EXPECT_TRUE(SameBits(outs[i], Product(*backend, *weights[i], x, biases[i]))) << "weight " << i << " m " << m;
        }
      }
    }
  }
}

TEST_P(TogetherTest, AProductAfterAGatedActivation) {
  for (const Activations allowed : kBoth) {
    const auto backend = Make(2, allowed);
    for (const char* format : {"fp4-g64", "int4-g128", "q8_0"}) {
      for (const std::size_t k : {640, 17152}) {
        const auto weight = Pack(*backend, format, 96, k);
        for (const std::size_t m : {1, 11, 40}) {
          const Matrix up = RandomValues(m, k, rng_, 3);
          Matrix gate = RandomValues(m, k, rng_, 3), apart(gate), out(m, 96);
          backend->GatedProduct(Activation::kSilu, gate.view, up.view, *weight, out.view);
          backend->GatedActivation(Activation::kSilu, apart.view, up.view);
          EXPECT_TRUE(SameBits(gate, apart)) << format << " m " << m;
          EXPECT_TRUE(SameBits(out, Product(*backend, *weight, apart, nullptr))) << format << " m " << m << " k " << k;
        }
      }
    }
  }
}

TEST_P(TogetherTest, AGatedProductIsItsProductsAndTheActivation) {
  constexpr std::size_t kCols = 512, kOuts = 1280;
  for (const Activations allowed : kBoth) {
    const auto backend = Make(2, allowed);
    for (const char* format : {"fp4-g128", "q8_0", "bf16"}) {
      const auto gate_weight = Pack(*backend, format, kOuts, kCols), up_weight = Pack(*backend, format, kOuts, kCols);
      const std::array<const Weight*, 2> weights = {gate_weight.get(), up_weight.get()};
      for (const std::size_t m : {1, 12, 20, 66}) {
        for (const bool normed : {false, true}) {
          const Matrix x = RandomValues(m, kCols, rng_), bias = RandomValues(1, kOuts, rng_);
          Matrix y(m, kCols), gate(m, kOuts), want(m, kOuts), up(m, kOuts);
          const HostOperations::NormOf norm = {x.view, nullptr, 1e-5f, y.view};
          const std::array<const float*, 2> biases = {nullptr, bias.data.data()};
          backend->GatedMatmul(Activation::kGeluTanh, normed ? &norm : nullptr, x.view, weights, biases, gate.view);
          if (normed) {
            backend->NormMatmul(norm, weights, biases, std::array{want.view, up.view});
          } else {
            backend->Matmul(weights, biases, x.view, std::array{want.view, up.view});
          }
          backend->GatedActivation(Activation::kGeluTanh, want.view, up.view);
          EXPECT_TRUE(SameBits(gate, want)) << format << " m " << m << (normed ? " normed" : "");
        }
      }
    }
  }
}

// Heads that turn as a whole and in part; the caches are compared by what attention reads in them.
TEST_P(TogetherTest, RopeAppendIsRopeAndAppend) {
  constexpr std::size_t kHeads = 6, kKvHeads = 2, kDim = 64, kContext = 40;
  for (const Activations allowed : kBoth) {
    const auto backend = Make(2, allowed);
    for (const std::size_t pairs : {32, 12}) {
      for (const bool neighbours : {false, true}) {
        const Matrix cos = RandomValues(kContext, pairs, rng_), sin = RandomValues(kContext, pairs, rng_);
        const Matrix query_cos = RandomValues(kContext, pairs, rng_);
        const CacheShape shape = {kContext, {{kKvHeads, kDim}}};
        const auto one = *backend->AllocateCache(shape), two = *backend->AllocateCache(shape);
        for (const auto& [position, m] : {std::pair<std::size_t, std::size_t>{0, 30}, {30, 1}}) {
          const Matrix q = RandomValues(m, kHeads * kDim, rng_), k = RandomValues(m, kKvHeads * kDim, rng_);
          const Matrix v = RandomValues(m, kKvHeads * kDim, rng_);
          Matrix q1(q), k1(k), q2(q), k2(k), out1(m, kHeads * kDim), out2(m, kHeads * kDim);
          backend->RopeAppend({q1.view, query_cos.view, sin.view, neighbours},
                              {k1.view, cos.view, sin.view, neighbours}, kDim, *one, position, v.view);
          const auto from = [&](const Matrix& table) {
            return MatrixView<const float>{table.data.data() + position * table.stride, kContext - position, pairs,
                                           table.stride};
          };
          backend->Rope(q2.view, kDim, from(query_cos), from(sin), neighbours);
          backend->Rope(k2.view, kDim, from(cos), from(sin), neighbours);
          backend->Append(*two, 0, position, k2.view, v.view);
          EXPECT_TRUE(SameBits(q1, q2) && SameBits(k1, k2)) << pairs << neighbours << m;
          backend->Attention({q1.view, one.get(), 0, kHeads, position, 0.125f}, out1.view);
          backend->Attention({q1.view, two.get(), 0, kHeads, position, 0.125f}, out2.view);
          EXPECT_TRUE(SameBits(out1, out2)) << pairs << neighbours << m;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllLevels, TogetherTest, testing::ValuesIn(TestedBackends()),
                         [](const auto& level) { return std::string(level.param.name); });

}  // namespace
}  // namespace marlin
