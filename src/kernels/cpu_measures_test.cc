// The CPU backend's operations that measure: losses, divergences, most likely tokens, statistics. Compares every
// instruction set with the reference backend or with the textbook.
#include <array>
#include <span>
#include <string>

#include "kernels/test_cpu.h"

namespace marlin {
namespace {

class CpuMeasuresTest : public CpuTest {};

TEST_P(CpuMeasuresTest, CrossEntropy) {
  for (const std::size_t vocabulary : {1, 7, 100, 5003}) {
    const Matrix logits = RandomValues(9, vocabulary, rng_, 30);
    std::vector<std::int32_t> targets(9);
    for (std::int32_t& target : targets) target = static_cast<std::int32_t>(rng_.Below(vocabulary));
    std::vector<double> got(9, NAN), want(9, NAN);
    cpu_->CrossEntropy(logits.view, targets, got);
    reference_->CrossEntropy(logits.view, targets, want);
    for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(got[i], want[i], 3e-7 * (1 + std::abs(want[i]))) << vocabulary;
  }
  const Matrix uniform(1, 49152, 1000.0f);
  double nll = NAN;
  cpu_->CrossEntropy(uniform.view, std::array{17}, {&nll, 1});
  EXPECT_NEAR(nll, std::log(49152.0), 1e-12);
}

// sum p (log p - log q) as the textbook has it. Its logarithms are wrong by at most 1e-14, and so is the sum.
double TextbookKl(std::span<const float> x, std::span<const float> y) {
  const auto log_sum = [](std::span<const float> row) {
    const double peak = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float value : row) sum += std::exp(value - peak);
    return peak + std::log(sum);
  };
  const double x_sum = log_sum(x);
  const double y_sum = log_sum(y);
  double kl = 0;
  for (std::size_t j = 0; j < x.size(); ++j) kl += std::exp(x[j] - x_sum) * ((x[j] - x_sum) - (y[j] - y_sum));
  return kl;
}

TEST_P(CpuMeasuresTest, Divergence) {
  constexpr std::size_t kRows = 9;
  for (const std::size_t vocabulary : {1, 7, 100, 5003}) {
    // Neighbours whose KL is 1e-12 of a nat, ordinary quantization errors, and strangers.
    for (const double distance : {1e-6, 1e-3, 0.1, 1.0, 30.0}) {
      SCOPED_TRACE(testing::Message() << vocabulary << " logits, " << distance << " apart");
      const Matrix base = RandomValues(kRows, vocabulary, rng_, 8);
      Matrix other(base);
      std::vector<std::int32_t> targets(kRows);
      for (std::size_t t = 0; t < kRows; ++t) {
        const double moved = 5 * RandomValue(rng_);  // both softmaxes ignore it
        for (float& value : other.view.Row(t)) value += static_cast<float>(distance * RandomValue(rng_) + moved);
        targets[t] = static_cast<std::int32_t>(rng_.Below(vocabulary));
      }
      std::vector<double> want(kRows), base_nll(kRows), other_nll(kRows);
      for (std::size_t t = 0; t < kRows; ++t) want[t] = TextbookKl(base.view.Row(t), other.view.Row(t));
      for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
        std::vector<TokenDivergence> got(kRows, {kNan, kNan, kNan, kNan});
        backend->Divergence(base.view, other.view, targets, got);
        backend->CrossEntropy(base.view, targets, base_nll);
        backend->CrossEntropy(other.view, targets, other_nll);
        for (std::size_t t = 0; t < kRows; ++t) {
          const std::span<const float> x = base.view.Row(t);
          const std::span<const float> y = other.view.Row(t);
          EXPECT_NEAR(got[t].kl, want[t], 1e-5 * want[t] + 1e-12) << backend->name();
          EXPECT_GE(got[t].kl, 0);
          EXPECT_EQ(got[t].base_nll, base_nll[t]) << backend->name();
          EXPECT_EQ(got[t].other_nll, other_nll[t]) << backend->name();
          const bool same_top =
              std::max_element(x.begin(), x.end()) - x.begin() == std::max_element(y.begin(), y.end()) - y.begin();
          EXPECT_EQ(got[t].same_top, same_top ? 1 : 0);
        }
      }
    }
  }
}

TEST_P(CpuMeasuresTest, DivergenceOfKnownDistributions) {
  const Matrix uniform(1, 49152, -3.0f);
  Matrix peaked(1, 49152, 0.0f);
  peaked.view.Row(0)[7] = 100;
  for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
    TokenDivergence got;
    backend->Divergence(uniform.view, uniform.view, std::array{17}, {&got, 1});
    EXPECT_EQ(got.kl, 0) << backend->name();
    EXPECT_EQ(got.same_top, 1);
    // One token holds everything: KL(peaked || uniform) = log 49152; the other way all but one of 49152 tokens lie 100
    // nats below it: KL = 49151 / 49152 x 100 - log 49152.
    backend->Divergence(peaked.view, uniform.view, std::array{7}, {&got, 1});
    EXPECT_NEAR(got.kl, std::log(49152.0), 1e-5);
    EXPECT_NEAR(got.base_nll, 0, 1e-12);
    EXPECT_EQ(got.same_top, 0);
    backend->Divergence(uniform.view, peaked.view, std::array{7}, {&got, 1});
    EXPECT_NEAR(got.kl, 100.0 * 49151 / 49152 - std::log(49152.0), 1e-4);
    // p = (3/4, 1/4), q = (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2.
    const std::array<float, 2> p = {std::log(3.0f), 0};
    const std::array<float, 2> q = {0, 0};
    backend->Divergence({p.data(), 1, 2}, {q.data(), 1, 2}, std::array{0}, {&got, 1});
    EXPECT_NEAR(got.kl, 0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-6);
  }
}

TEST_P(CpuMeasuresTest, DivergenceIgnoresTheNumberOfThreads) {
  const Matrix base = RandomValues(40, 1003, rng_, 4);
  const Matrix other = RandomValues(40, 1003, rng_, 4);
  const std::vector<std::int32_t> targets(40, 11);
  std::vector<TokenDivergence> want(40), got(40);
  Make(1)->Divergence(base.view, other.view, targets, want);
  for (const int threads : {2, 3, 8}) {
    Make(threads)->Divergence(base.view, other.view, targets, got);
    for (std::size_t t = 0; t < 40; ++t) EXPECT_EQ(got[t].kl, want[t].kl);
  }
}

TEST_P(CpuMeasuresTest, DivergenceOfWhatIsNotANumber) {
  for (const float bad : {kNan, kInfinity}) {
    for (const std::size_t where : {0, 50, 100}) {
      const Matrix fine(2, 101, 1.0f);
      Matrix broken(2, 101, 1.0f);
      broken.view.Row(1)[where] = bad;
      std::vector<TokenDivergence> got(2);
      cpu_->Divergence(fine.view, broken.view, std::array{3, 3}, got);
      EXPECT_EQ(got[0].kl, 0);
      EXPECT_FALSE(std::isfinite(got[1].kl));
      cpu_->Divergence(broken.view, fine.view, std::array{3, 3}, got);
      EXPECT_FALSE(std::isfinite(got[1].kl));
    }
  }
}

TEST_P(CpuMeasuresTest, CrossEntropyOfWhatIsNotANumber) {
  for (const std::size_t where : {0, 50, 100}) {
    Matrix logits(4, 101, 1.0f);
    logits.view.Row(1)[where] = kNan;
    logits.view.Row(2)[where] = kInfinity;
    logits.view.Row(3)[where] = -kInfinity;
    std::vector<double> nll(4, -1);
    cpu_->CrossEntropy(logits.view, std::array{3, 3, 3, 3}, nll);
    EXPECT_NEAR(nll[0], std::log(101.0), 1e-12);
    EXPECT_TRUE(std::isnan(nll[1]));
    EXPECT_TRUE(std::isnan(nll[2]));
    EXPECT_NEAR(nll[3], std::log(100.0), 1e-12);
  }
}

// The exponential against the C library in double.
TEST_P(CpuMeasuresTest, Exp) {
  if (GetParam().cuda) GTEST_SKIP() << "of CPUs alone";
  const OpsTable& ops = OpsFor(GetParam().bits);
  std::vector<float> x;
  for (float value = -110; value < 95; value += 0.00137f) x.push_back(value);
  for (const float value : {0.0f, -0.0f, kInfinity, -kInfinity, 1e30f, -1e30f, 88.72f, -87.33f, -87.34f, -103.9f})
    x.push_back(value);
  std::vector<float> y(x.size(), kNan);
  ops.exp(x.data(), x.size(), y.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = std::exp(static_cast<double>(x[i]));
    if (want > std::numeric_limits<float>::max()) {
      ASSERT_EQ(y[i], kInfinity) << x[i];
    } else if (x[i] < -87.33f) {
      ASSERT_EQ(y[i], 0.0f) << x[i];
    } else {
      ASSERT_NEAR(y[i], want, 2 * 0x1p-23 * want) << x[i];
    }
  }
  const float zero = 0;
  float one = kNan;
  ops.exp(&zero, 1, &one);
  EXPECT_EQ(one, 1.0f);
  ops.exp(&kNan, 1, &one);
  EXPECT_TRUE(std::isnan(one));
}

// Of 257 logits the largest ones, with equal ones and numbers that are none among them.
TEST_P(CpuMeasuresTest, TopK) {
  constexpr std::size_t kRows = 5;
  constexpr std::size_t kCols = 257;
  Matrix x = RandomValues(kRows, kCols, rng_);
  x.view.Row(1)[100] = x.view.Row(1)[200] = 50;
  x.view.Row(2)[3] = kNan;
  std::fill_n(x.view.Row(3).data(), kCols, -kInfinity);
  for (const std::size_t count : {1, 2, 40, 257}) {
    std::vector<Matrix> values;
    std::vector<std::vector<std::int32_t>> columns;
    for (HostOperations* backend : {cpu_.get(), reference_.get()}) {
      backend->TopK(x.view, values.emplace_back(kRows, count).view, columns.emplace_back(kRows * count, -1));
    }
    EXPECT_TRUE(SameBits(values[0], values[1]));
    EXPECT_EQ(columns[0], columns[1]);
    EXPECT_EQ(columns[0][count], 100) << "the first of equals";
    EXPECT_EQ(columns[0][2 * count], 3) << "a NaN shows";
    EXPECT_EQ(columns[0][3 * count], 0);
    for (std::size_t i = 1; i < count; ++i) EXPECT_GE(values[0].view.Row(0)[i - 1], values[0].view.Row(0)[i]);
  }
}

// On a host in the order of the rows, so with the same bits.
TEST_P(CpuMeasuresTest, MomentsAreSumsInOrder) {
  for (const std::size_t cols : {1, 7, 300}) {
    Matrix x = RandomValues(70, cols, rng_, 3);
    std::vector<double> want(2 * cols), got(2 * cols, kNan);
    std::vector<float> want_largest(cols), got_largest(cols, kNan);
    reference_->Moments(x.view, want, want_largest);
    for (const int threads : {1, 3}) {
      Make(threads)->Moments(x.view, got, got_largest);
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[i], (GetParam().cuda ? 1e-12 : 0) * want[i]);
      EXPECT_EQ(got_largest, want_largest);
    }
    x.view.Row(69)[cols - 1] = kNan;
    cpu_->Moments(x.view, got, got_largest);
    EXPECT_FALSE(std::isfinite(got[cols - 1]));
    EXPECT_FALSE(std::isfinite(got[2 * cols - 1]));
  }
}

TEST_P(CpuMeasuresTest, AddGramAddsTheUpperTriangle) {
  constexpr std::size_t kCols = 70;
  Matrix got(kCols, kCols, 0.5f), want(kCols, kCols, 0.5f), threads(kCols, kCols, 0.5f);
  const auto others = Make(5);
  for (const std::size_t m : {1, 300}) {
    const Matrix x = RandomValues(m, kCols, rng_);
    cpu_->AddGram(x.view, got.view);
    others->AddGram(x.view, threads.view);
    reference_->AddGram(x.view, want.view);
  }
  EXPECT_TRUE(SameBits(got, threads));
  ExpectNear(got, want, 2e-5);
  for (std::size_t i = 0; i < kCols; ++i) {
    for (std::size_t j = 0; j < i; ++j) ASSERT_EQ(got.view.Row(i)[j], 0.5f);
  }
}

INSTANTIATE_TEST_SUITE_P(AllLevels, CpuMeasuresTest, testing::ValuesIn(TestedBackends()),
                         [](const auto& level) { return std::string(level.param.name); });

}  // namespace
}  // namespace marlin
