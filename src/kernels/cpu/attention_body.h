// Softmax attention of a few positions over all earlier keys. It processes one block of 64 keys at a time with a
// running maximum, so the scores stay in the cache. Blocks before the windows of all rows are not read. Included after
// matmul_body.h; everything has internal linkage.
#pragma once

#include "kernels/cpu/exp_body.h"
#include "kernels/cpu/matmul_body.h"

namespace marlin {
namespace {

// The work space of a tile, cut into its parts; rows are (position, head).
struct AttentionParts {
  std::size_t rows;
  std::size_t padded;  // head_dim rounded up to 64
  float* q;            // [rows][head_dim]
  float* out;          // [rows][padded], not yet divided by the sum
  float* peak;         // [rows]
  float* sum;          // [rows]
  float* keys;         // [head_dim][64], where they are stored in fp16 and many rows read them
  float* values;       // [64][head_dim], likewise
  float* scores;       // [kTileTokens][64]
};

inline AttentionParts CutWorkspace(const AttentionTile& tile) {
  AttentionParts parts;
  parts.rows = tile.positions * tile.heads;
  parts.padded = (tile.head_dim + 63) / 64 * 64;
  float* next = tile.workspace;
  const auto take = [&](std::size_t floats) {
    float* part = next;
    next += (floats + 15) / 16 * 16;
    return part;
  };
  parts.q = take(parts.rows * tile.head_dim);
  parts.out = take(parts.rows * parts.padded);
  parts.peak = take(parts.rows);
  parts.sum = take(parts.rows);
  parts.keys = take(tile.head_dim * kKeyBlock);
  parts.values = take(kKeyBlock * tile.head_dim + kKeyBlock);
  parts.scores = take(kTileTokens * kKeyBlock);
  return parts;
}

// Below every score, and finite: rows of a tile with a window see nothing of its first blocks, and exp(score - peak) of
// scores that are -infinity is 0.
constexpr float kNoPeak = -__FLT_MAX__;

inline void StartRows(const AttentionTile& tile, const AttentionParts& parts) {
  for (std::size_t row = 0; row < parts.rows; ++row) {
    const float* q = tile.q + row / tile.heads * tile.q_stride + row % tile.heads * tile.head_dim;
    for (std::size_t d = 0; d < tile.head_dim; ++d) parts.q[row * tile.head_dim + d] = q[d] * tile.scale;
    for (std::size_t d = 0; d < parts.padded; ++d) parts.out[row * parts.padded + d] = 0;
    parts.peak[row] = kNoPeak;
    parts.sum[row] = 0;
  }
}

// A block as products read it.
template <class Element>
struct KeyBlock {
  const Element* keys;    // [head_dim][64]
  const Element* values;  // [kKeyBlock][head_dim]
  std::size_t begin;      // position of the first key
  std::size_t first;      // the keys first .. end - 1 are seen by some row
  std::size_t end;
};

// Keys of a block that one row sees: first .. end - 1, perhaps none.
struct Visible {
  std::size_t first;
  std::size_t end;
};

// The position of the first key that a row at `position` sees.
inline std::size_t FirstSeen(const AttentionTile& tile, std::size_t position) {
  return tile.window != 0 && position + 1 > tile.window ? position + 1 - tile.window : 0;
}

inline std::size_t PlaceInBlock(std::size_t position, std::size_t begin) {
  return position > begin ? Smaller(position - begin, kKeyBlock) : 0;
}

// The running maxima of the rows of a register tile before and after a block, in whole vectors.
struct Peaks {
  static constexpr std::size_t kRows = (kTileTokens + kLanes - 1) / kLanes * kLanes;
  alignas(64) float before[kRows] = {};
  alignas(64) float after[kRows] = {};
  alignas(64) float shrink[kRows] = {};  // exp(before - after)
};

// The largest of a row's visible scores and `before`; the other scores become -infinity.
inline float PeakOfRow(float* scores, Visible visible, float before) {
  for (std::size_t j = 0; j < visible.first; ++j) scores[j] = -__builtin_inff();
  for (std::size_t j = visible.end; j < kKeyBlock; ++j) scores[j] = -__builtin_inff();
  Vec peaks = Set(before);
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) peaks = Max(Load(scores + j), peaks);
  return ReduceMax(peaks);
}

// Scores of a row -> exp(score - peak); their sum.
inline float ExpRow(float* scores, float peak) {
  Vec sums = Zero();
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) {
    const Vec e = Exp(Sub(Load(scores + j), Set(peak)));
    Store(scores + j, e);
    sums = Add(sums, e);
  }
  return ReduceAdd(sums);
}

inline void SoftCapScores(const AttentionParts& parts, std::size_t count, float cap) {
  for (std::size_t j = 0; j < count * kKeyBlock; j += kLanes) {
    Store(parts.scores + j, SoftCapped(Load(parts.scores + j), Set(cap)));
  }
}

// Scores of `count` rows from `row` -> exp(score - running maximum); row t sees the keys visible(t). Each step runs
// over all rows, because inside a row each step waits for the one before.
template <class VisibleTo>
inline void SoftmaxRows(const AttentionParts& parts, std::size_t row, std::size_t count, VisibleTo visible) {
  Peaks peaks;
  for (std::size_t t = 0; t < count; ++t) {
    peaks.before[t] = parts.peak[row + t];
    peaks.after[t] = PeakOfRow(parts.scores + t * kKeyBlock, visible(t), peaks.before[t]);
  }
  for (std::size_t t = 0; t < Peaks::kRows; t += kLanes) {
    Store(peaks.shrink + t, Exp(Sub(Load(peaks.before + t), Load(peaks.after + t))));
  }
  for (std::size_t t = 0; t < count; ++t) {
    const float sum = ExpRow(parts.scores + t * kKeyBlock, peaks.after[t]);
    parts.sum[row + t] = __builtin_fmaf(parts.sum[row + t], peaks.shrink[t], sum);
    parts.peak[row + t] = peaks.after[t];
    // Also by 1: no branch predictor knows where a maximum stays.
    float* out = parts.out + (row + t) * parts.padded;
    for (std::size_t d = 0; d < parts.padded; d += kLanes) {
      Store(out + d, Mul(Load(out + d), Set(peaks.shrink[t])));
    }
  }
}

// One block of keys for `count` rows from `row`. Columns of values beyond head_dim are not used.
template <class Element>
inline void AttendRows(const AttentionTile& tile, const AttentionParts& parts, std::size_t row, std::size_t count,
                       const KeyBlock<Element>& block) {
  const auto position = [&](std::size_t t) { return tile.position + (row + t) / tile.heads; };
  // The later rows see even less of it.
  if (tile.window != 0 && FirstSeen(tile, position(0)) >= block.begin + kKeyBlock) return;
  const float* q = parts.q + row * tile.head_dim;
  MultiplyTokens(Product<Element>{block.keys, kKeyBlock, tile.head_dim, q, tile.head_dim, nullptr, nullptr, 0,
                                  parts.scores, kKeyBlock},
                 count);
  if (tile.softcap != 0) SoftCapScores(parts, count, tile.softcap);
  SoftmaxRows(parts, row, count, [&](std::size_t t) {
    const std::size_t at = position(t);
    return Visible{PlaceInBlock(FirstSeen(tile, at), block.begin), PlaceInBlock(at + 1, block.begin)};
  });
  for (std::size_t d = 0; d < parts.padded; d += 64) {
    float* out = parts.out + row * parts.padded + d;
    MultiplyTokens(
        Product<Element>{block.values + block.first * tile.head_dim + d, tile.head_dim, block.end - block.first,
                         parts.scores + block.first, kKeyBlock, nullptr, out, parts.padded, out, parts.padded},
        count);
  }
}

template <class Element>
inline void AttendBlock(const AttentionTile& tile, const AttentionParts& parts, const KeyBlock<Element>& block) {
  for (std::size_t row = 0; row < parts.rows; row += kTileTokens) {
    AttendRows(tile, parts, row, Smaller(parts.rows - row, kTileTokens), block);
  }
}

// n is a multiple of 64, or its last vector may be read and written whole.
inline void Widen(const std::uint16_t* from, std::size_t n, float* to) {
  for (std::size_t i = 0; i < n; i += kLanes) Store(to + i, Load(from + i));
}

// fp16 becomes fp32 once for all rows, if they are more than one register tile.
inline void AttendBlock(const AttentionTile& tile, const AttentionParts& parts, const KeyBlock<std::uint16_t>& block) {
  if (parts.rows <= kTileTokens) return AttendBlock<std::uint16_t>(tile, parts, block);
  Widen(block.keys, tile.head_dim * kKeyBlock, parts.keys);
  Widen(block.values, block.end * tile.head_dim, parts.values);
  AttendBlock<float>(tile, parts, {parts.keys, parts.values, block.begin, block.first, block.end});
}

template <class Element>
void Attention(const AttentionTile& tile) noexcept {
  const AttentionParts parts = CutWorkspace(tile);
  StartRows(tile, parts);
  const auto* const keys = static_cast<const Element*>(tile.keys);
  const auto* const values = static_cast<const Element*>(tile.values);
  const std::size_t first = FirstSeen(tile, tile.position);
  const std::size_t end = tile.position + tile.positions;
  for (std::size_t begin = first / kKeyBlock * kKeyBlock; begin < end; begin += kKeyBlock) {
    const std::size_t offset = begin * tile.head_dim;
    AttendBlock(
        tile, parts,
        KeyBlock<Element>{keys + offset, values + offset, begin, PlaceInBlock(first, begin), PlaceInBlock(end, begin)});
  }
  for (std::size_t row = 0; row < parts.rows; ++row) {
    float* out = tile.out + row / tile.heads * tile.out_stride + row % tile.heads * tile.head_dim;
    const float factor = 1.0f / parts.sum[row];
    for (std::size_t d = 0; d < tile.head_dim; ++d) out[d] = parts.out[row * parts.padded + d] * factor;
  }
}

}  // namespace
}  // namespace marlin
