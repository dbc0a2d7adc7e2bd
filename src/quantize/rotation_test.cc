#include "quantize/rotation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace marlin {
namespace {

// Q itself: what the unit rows become.
std::vector<std::vector<double>> Rows(const Orthogonal& q) {
  std::vector<std::vector<double>> rows(q.size(), std::vector<double>(q.size()));
  for (std::size_t i = 0; i < q.size(); ++i) {
    rows[i][i] = 1;
    q.Apply(rows[i]);
  }
  return rows;
}

TEST(Orthogonal, KeepsLengthsAndSpreadsUnitVectorsAtEverySize) {
  for (const std::size_t n : {1, 2, 3, 8, 12, 15, 31, 36, 64, 172}) {
    const auto rows = Rows(Orthogonal(n, 7));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double dot = 0;
        for (std::size_t l = 0; l < n; ++l) dot += rows[i][l] * rows[j][l];
        EXPECT_NEAR(dot, i == j ? 1 : 0, 1e-13) << n;
        EXPECT_LE(std::abs(rows[i][j]), std::sqrt(2.0 / static_cast<double>(n)) + 1e-14) << n;
      }
    }
  }
}

TEST(Orthogonal, TheSeedDecides) {
  EXPECT_EQ(Rows(Orthogonal(24, 5)), Rows(Orthogonal(24, 5)));
  EXPECT_NE(Rows(Orthogonal(24, 5)), Rows(Orthogonal(24, 6)));
}

// Against the product written out, in pieces, with columns that are no whole step; poisoned outside of the view.
TEST(Rotate, MatricesAreTurnedPieceByPieceForAnyNumberOfThreads) {
  constexpr std::size_t kRows = 36, kCols = 48, kStride = 51, kN = 12;
  const Orthogonal q(kN, 3);
  const auto matrix = Rows(q);
  Rng rng(21);
  std::vector<float> start(kRows * kStride);
  for (float& w : start) w = static_cast<float>(rng.Normal());
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    std::vector<float> by_columns = start;
    std::vector<float> by_rows = start;
    RotateColumns(q, {by_columns.data(), kRows, kCols, kStride}, pool);
    RotateRows(q, {by_rows.data(), kRows, kCols - 1, kStride}, pool);
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t c = 0; c < kStride; ++c) {
        double want_columns = 0;
        double want_rows = 0;
        for (std::size_t l = 0; l < kN; ++l) {
          if (c < kCols) want_columns += double{start[r * kStride + c / kN * kN + l]} * matrix[l][c % kN];
          want_rows += double{start[(r / kN * kN + l) * kStride + c]} * matrix[l][r % kN];
        }
        if (c >= kCols) want_columns = start[r * kStride + c];
        if (c >= kCols - 1) want_rows = start[r * kStride + c];
        EXPECT_NEAR(by_columns[r * kStride + c], want_columns, 1e-6);
        EXPECT_NEAR(by_rows[r * kStride + c], want_rows, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace marlin
