// Compares dense products of every instruction set with sums in the next wider type.
#include "kernels/product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <ostream>
#include <type_traits>
#include <vector>

#include "kernels/guard_memory.h"
#include "kernels/kernel.h"
#include "kernels/print_isa.h"
#include "kernels/random_matrix.h"

namespace marlin {

namespace {

// A matrix with gaps between its rows, against an unreadable page.
template <class T>
struct Guarded {
  Guarded(std::size_t rows, std::size_t cols, Rng& rng, GuardSide side)
      : memory((rows - 1) * (cols + 3) + cols, side), view(memory.data(), rows, cols, cols + 3) {
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<T>(RandomValue(rng));
  }
  GuardMemory<T> memory;
  MatrixView<T> view;
};

class DenseProductTest : public testing::TestWithParam<IsaLevel> {
 protected:
  void SetUp() override {
    if (const IsaSet missing = GetParam().bits & ~HostIsa(); missing != 0) {
      GTEST_SKIP() << "this machine lacks " << IsaNames(missing);
    }
  }

  template <class T>
  void Check(std::size_t length, std::size_t m, std::size_t n, T factor, bool upper, GuardSide side) {
    using Wide = std::conditional_t<sizeof(T) == sizeof(float), double, long double>;
    SCOPED_TRACE(testing::Message() << "length " << length << " m " << m << " n " << n << " upper " << upper);
    const Guarded<T> a(length, m, rng_, side);
    const Guarded<T> b(length, n, rng_, side);
    Guarded<T> c(m, n, rng_, side);
    const std::vector<T> before(c.memory.data(), c.memory.data() + c.memory.size());
    ThreadPool pool(3);
    Multiply<T>({a.view, b.view, c.view, factor, upper}, GetParam().bits, pool);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < c.view.stride && i * c.view.stride + j < c.memory.size(); ++j) {
        const T old = before[i * c.view.stride + j];
        const T got = c.memory[i * c.view.stride + j];
        if (j >= n || (upper && j < i)) {
          ASSERT_EQ(got, old) << "touched " << i << ", " << j;
          continue;
        }
        // Where long double is no type of the processor all products of a large double matrix take minutes.
        if (sizeof(T) == sizeof(double) && m * n > 1000 && (i * n + j) % 7 != 0) continue;
        Wide sum = 0;
        const auto term = [&](std::size_t l) {
          return static_cast<Wide>(a.view.Row(l)[i]) * static_cast<Wide>(b.view.Row(l)[j]);
        };
        for (std::size_t l = 0; l < length; ++l) sum += term(l);
        const Wide roundings = static_cast<Wide>(length + 4) * std::numeric_limits<T>::epsilon();
        const Wide want = old + factor * sum;
        // The sum of |terms| is at least |sum|: it is needed for few outputs, and an emulator takes long for it.
        if (std::abs(got - want) <= (std::abs(old) + std::abs(factor * sum)) * roundings) continue;
        Wide size = std::abs(old);
        for (std::size_t l = 0; l < length; ++l) size += std::abs(term(l) * factor);
        ASSERT_NEAR(static_cast<double>(got), static_cast<double>(want), static_cast<double>(size * roundings))
            << i << ", " << j;
      }
    }
  }

  Rng rng_{31};
};

TEST_P(DenseProductTest, AgreesWithTheWiderType) {
  std::size_t count = 0;
  for (const std::size_t length : {1, 7, 260}) {
    for (const std::size_t m : {1, 5, 6, 13, 200}) {
      for (const std::size_t n : {1, 17, 64, 65, 200}) {
        const GuardSide side = ++count % 2 == 0 ? GuardSide::kBefore : GuardSide::kAfter;
        Check<float>(length, m, n, 1, false, side);
        Check<double>(length, m, n, -1, false, side);
        if (HasFatalFailure()) return;
      }
    }
    for (const std::size_t n : {1, 7, 64, 201}) {
      Check<float>(length, n, n, 0.5f, true, GuardSide::kAfter);
      Check<double>(length, n, n, -1, true, GuardSide::kBefore);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DenseProductTest, NeitherThreadsNorCutsChangeABit) {
  const std::size_t n = 1030;  // large blocks in one piece, small ones in two
  const std::size_t length = 270;
  std::vector<float> x(length * n);
  for (float& value : x) value = static_cast<float>(RandomValue(rng_));
  const MatrixView<const float> view(x.data(), length, n);
  std::vector<float> want(n * n, 0.25f);
  Multiply<float>({view, view, {want.data(), n, n}}, GetParam().bits);
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    std::vector<float> got(n * n, 0.25f);
    Multiply<float>({view, view, {got.data(), n, n}}, GetParam().bits, pool);
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << threads;
  }
  ThreadPool pool(3);
  std::vector<float> pieces(n * n, 0.25f);  // 256 rows, then the rest; columns 0 .. 99, then the rest
  for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 256}, {256, length - 256}}) {
    for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, 100}, {100, n}}) {
      const auto rows = view.Rows(first, count);
      Multiply<float>({rows, {rows.data + begin, count, end - begin, n}, {pieces.data() + begin, n, end - begin, n}},
                      GetParam().bits, pool);
    }
  }
  EXPECT_EQ(std::memcmp(pieces.data(), want.data(), want.size() * sizeof(float)), 0);
}

// Those with dense products of their own.
std::vector<IsaLevel> Levels() {
  std::vector<IsaLevel> levels;
  for (const IsaLevel& level : IsaLevels()) {
    const auto same = [&](const IsaLevel& other) { return &OpsFor(other.bits) == &OpsFor(level.bits); };
    if (std::ranges::none_of(levels, same)) levels.push_back(level);
  }
  return levels;
}

INSTANTIATE_TEST_SUITE_P(AllIsas, DenseProductTest, testing::ValuesIn(Levels()),
                         [](const auto& level) { return std::string(level.param.name); });

}  // namespace
}  // namespace marlin
