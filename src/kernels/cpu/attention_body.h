// Softmax attention of a few positions against all earlier keys, one block of 64 keys at a time with a running maximum,
// so that the scores never leave the cache. Included after matmul_body.h; everything has internal linkage.
#pragma once

#include "kernels/cpu/exp_body.h"
#include "kernels/cpu/matmul_body.h"

namespace marlin {
namespace {

constexpr std::size_t kKeyBlock = 64;

// The work space of a tile, cut into its parts; rows are (position, head).
struct AttentionParts {
  std::size_t rows;
  std::size_t padded;  // head_dim rounded up to 64
  float* q;            // [rows][head_dim]
  float* out;          // [rows][padded], not yet divided by the sum
  float* peak;         // [rows]
  float* sum;          // [rows]
  float* keys;         // [head_dim][64]
  float* values;       // [64][padded]
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
  parts.values = take(kKeyBlock * parts.padded);
  parts.scores = take(kTileTokens * kKeyBlock);
  return parts;
}

inline void StartRows(const AttentionTile& tile, const AttentionParts& parts) {
  for (std::size_t row = 0; row < parts.rows; ++row) {
    const float* q = tile.q + row / tile.heads * tile.q_stride + row % tile.heads * tile.head_dim;
    for (std::size_t d = 0; d < tile.head_dim; ++d) parts.q[row * tile.head_dim + d] = q[d] * tile.scale;
    for (std::size_t d = 0; d < parts.padded; ++d) parts.out[row * parts.padded + d] = 0;
    parts.peak[row] = -__builtin_inff();
    parts.sum[row] = 0;
  }
}

// keys[d][j] = key j, dimension d; missing keys are 0.
inline void TransposeKeys(const AttentionTile& tile, std::size_t begin, std::size_t count, float* keys) {
  const float* from = tile.keys + begin * tile.key_stride;
  std::size_t j = 0;
  for (; j + 4 <= count; j += 4) {
    std::size_t d = 0;
    for (; d + 4 <= tile.head_dim; d += 4) {
      Transpose4(from + j * tile.key_stride + d, tile.key_stride, keys + d * kKeyBlock + j, kKeyBlock);
    }
    for (; d < tile.head_dim; ++d) {
      for (std::size_t i = j; i < j + 4; ++i) keys[d * kKeyBlock + i] = from[i * tile.key_stride + d];
    }
  }
  for (; j < kKeyBlock; ++j) {
    for (std::size_t d = 0; d < tile.head_dim; ++d) {
      keys[d * kKeyBlock + j] = j < count ? from[j * tile.key_stride + d] : 0.0f;
    }
  }
}

// The values of a block with rows of whole 64 columns: where they lie, or copied and filled up with zeros.
struct Values {
  const float* data;
  std::size_t stride;
};

inline Values PadValues(const AttentionTile& tile, const AttentionParts& parts, std::size_t begin, std::size_t count) {
  const float* from = tile.values + begin * tile.value_stride;
  if (parts.padded == tile.head_dim) return {from, tile.value_stride};
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t d = 0; d < parts.padded; ++d) {
      parts.values[j * parts.padded + d] = d < tile.head_dim ? from[j * tile.value_stride + d] : 0.0f;
    }
  }
  return {parts.values, parts.padded};
}

// Scores of a row -> exp(score - running maximum); the first `visible` of 64 count, the others become 0.
inline void SoftmaxRow(const AttentionParts& parts, std::size_t row, float* scores, std::size_t visible) {
  constexpr float kLowest = -__builtin_inff();
  for (std::size_t j = visible; j < kKeyBlock; ++j) scores[j] = kLowest;
  Vec peaks = Set(parts.peak[row]);
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) peaks = Max(Load(scores + j), peaks);
  const float peak = ReduceMax(peaks);
  const Vec shrink = Exp(Set(parts.peak[row] - peak));
  Vec sums = Zero();
  for (std::size_t j = 0; j < kKeyBlock; j += kLanes) {
    const Vec e = Exp(Sub(Load(scores + j), Set(peak)));
    Store(scores + j, e);
    sums = Add(sums, e);
  }
  if (peak != parts.peak[row]) {
    float* out = parts.out + row * parts.padded;
    for (std::size_t d = 0; d < parts.padded; d += kLanes) Store(out + d, Mul(Load(out + d), shrink));
  }
  parts.sum[row] = __builtin_fmaf(parts.sum[row], First(shrink), ReduceAdd(sums));
  parts.peak[row] = peak;
}

// One block of keys for `count` rows from `row`.
inline void AttendRows(const AttentionTile& tile, const AttentionParts& parts, std::size_t row, std::size_t count,
                       std::size_t begin, std::size_t keys, const Values& values) {
  const float* q = parts.q + row * tile.head_dim;
  MultiplyTokens({parts.keys, kKeyBlock, tile.head_dim, q, tile.head_dim, nullptr, nullptr, 0, parts.scores, kKeyBlock},
                 count);
  for (std::size_t t = 0; t < count; ++t) {
    float* scores = parts.scores + t * kKeyBlock;
    const std::size_t end = tile.position + (row + t) / tile.heads + 1;  // of the keys this row sees
    if (end > begin) {
      SoftmaxRow(parts, row + t, scores, Smaller(end - begin, kKeyBlock));
    } else {
      for (std::size_t j = 0; j < kKeyBlock; ++j) scores[j] = 0;
    }
  }
  for (std::size_t d = 0; d < parts.padded; d += 64) {
    float* out = parts.out + row * parts.padded + d;
    MultiplyTokens(
        {values.data + d, values.stride, keys, parts.scores, kKeyBlock, nullptr, out, parts.padded, out, parts.padded},
        count);
  }
}

void Attention(const AttentionTile& tile) noexcept {
  const AttentionParts parts = CutWorkspace(tile);
  StartRows(tile, parts);
  const std::size_t end = tile.position + tile.positions;
  for (std::size_t begin = 0; begin < end; begin += kKeyBlock) {
    const std::size_t keys = Smaller(end - begin, kKeyBlock);
    TransposeKeys(tile, begin, keys, parts.keys);
    const Values values = PadValues(tile, parts, begin, keys);
    for (std::size_t row = 0; row < parts.rows; row += kTileTokens) {
      AttendRows(tile, parts, row, Smaller(parts.rows - row, kTileTokens), begin, keys, values);
    }
  }
  for (std::size_t row = 0; row < parts.rows; ++row) {
    float* out = tile.out + row / tile.heads * tile.out_stride + row % tile.heads * tile.head_dim;
    const float factor = 1.0f / parts.sum[row];
    for (std::size_t d = 0; d < tile.head_dim; ++d) out[d] = parts.out[row * parts.padded + d] * factor;
  }
}

}  // namespace
}  // namespace marlin
