// Distributes the rows of a weight matrix to threads in pieces.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "base/thread_pool.h"

namespace marlin {

// Rows of weights that one thread takes at a time, at most.
inline constexpr std::size_t kMostPieceRows = 192;

// Enough for a product, few enough for all threads; a multiple of 8, because the zero points of eight neighbouring rows
// share a word.
inline std::size_t RowsPerPiece(std::size_t rows, int threads) {
  const std::size_t share = (rows + static_cast<std::size_t>(threads) - 1) / static_cast<std::size_t>(threads);
  return std::clamp<std::size_t>((share + 7) / 8 * 8, 8, kMostPieceRows);
}

// Rows that are turned into columns together: each column then takes a whole cache line.
inline constexpr std::size_t kTurnedTogether = 16;

// Calls turn(first, last) for all rows below `rows`, kTurnedTogether at a time.
template <class Turn>
void ForTurnedRows(std::size_t rows, Turn turn) {
  for (std::size_t first = 0; first < rows; first += kTurnedTogether) {
    turn(first, std::min(first + kTurnedTogether, rows));
  }
}

// make_job() once per thread gives a job; job(begin, end) for pieces of rows.
template <class MakeJob>
void ForPieces(std::size_t rows, ThreadPool& pool, MakeJob make_job) {
  const std::size_t piece = RowsPerPiece(rows, pool.threads());
  std::atomic<std::size_t> next{0};
  pool.Run([&](int) {
    auto job = make_job();
    for (std::size_t begin; (begin = next.fetch_add(piece, std::memory_order_relaxed)) < rows;) {
      job(begin, std::min(begin + piece, rows));
    }
  });
}

}  // namespace marlin
