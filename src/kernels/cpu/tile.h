// The interface between the CPU backend and the code of one instruction set: plain structs and function pointers. It
// has nothing that could leave an inline function compiled for a newer machine in the program. All functions are
// noexcept, do not allocate and cannot fail.
#pragma once

#include <cstddef>
#include <cstdint>

namespace marlin {

struct FormatRow;
struct PanelGeometry;

// Tokens of one MatmulTile: with 64 rows the running totals are 128 KiB, which stay in any L2 cache.
inline constexpr std::size_t kMaxTileTokens = 512;
// k summed in one chain before the sum is folded into the total: 64 rows x 64 k in fp32 are 16 KiB of L1 cache.
inline constexpr std::size_t kBlockLength = 64;

// k summed in one chain where x is rounded, and the most blocks that are unpacked together. Together, so that totals
// are loaded and stored less often.
inline constexpr std::size_t kDotBlockLength = 128;
inline constexpr std::size_t kMostDotBlocks = 8;

// Room for unpacked weights: 256 k in 16 bits.
inline constexpr std::size_t kUnpackedBytes = 64 * 256 * 2;

// Floats of a thread's work space: unpacked weights, their scales and offsets, totals.
inline constexpr std::size_t kMatmulWorkspace =
    kUnpackedBytes / sizeof(float) + 2 * 64 * kMostDotBlocks + 64 * kMaxTileTokens;

// Tokens whose packed activations are adjacent: at most as many as the widest register tile has.
inline constexpr std::size_t kTokenTile = 6;

// m tokens are packed in as few tiles as possible. The first tiles may be one token wider than the others, because a
// tile of one or two tokens takes as long as one of three.
struct TokenTiles {
  std::size_t count;
  std::size_t least;  // tokens of the narrower ones
  std::size_t wider;  // tiles

  explicit constexpr TokenTiles(std::size_t m)
      : count((m + kTokenTile - 1) / kTokenTile), least(m / count), wider(m - count * least) {}
  constexpr std::size_t Width(std::size_t i) const { return least + (i < wider ? 1 : 0); }
  // The first token of tile i; m after the last tile.
  constexpr std::size_t Begin(std::size_t i) const { return i * least + (i < wider ? i : wider); }
};

// Layout of x for kernels that round it: tiles of tokens, each of 32-bit words
//
//   bf16   [ceil(k / 8)][4 pairs][tokens of the tile]   two bf16 each, the pairs of layout.h
//          [sums][tokens of the tile]                   fp32 sums of the bf16 of 32 k, then of 128 k
//   int16  [ceil(k / 8)][4 pairs][tokens of the tile]   two int16 each, or, split into bytes,
//          [ceil(k / 8)][2 quads][2][tokens of the tile]   four high bytes, then four low ones: int16 = 256 high + low
//          [ceil(k / 128)][tokens of the tile]          fp32 scales: largest |x| of 128 k / 32639
//          [sums][tokens of the tile]                   minus sums of the int16 of 32 k, then of 128 k: pairs of int16
//                                                       (a, b), each a + 128 b, a from 0 to 127
//   int8   [ceil(k / 8)][2 quads][tokens of the tile]   four bytes each, the quads of layout.h
//          [ceil(k / 128)][tokens of the tile]          fp32 scales: largest |x| of 128 k / 127
//          [sums][tokens of the tile]                   fp32 sums of the bytes of 32 k, then of 128 k
//
// Rounded to nearest, ties to even; the k that fill up the last 8 are 0.
inline constexpr std::size_t kSumLength = 32;
constexpr std::size_t ShortSums(std::size_t k) { return (k + kSumLength - 1) / kSumLength; }
constexpr std::size_t InputSums(std::size_t k) { return ShortSums(k) + (k + kDotBlockLength - 1) / kDotBlockLength; }
constexpr std::size_t PairWords(std::size_t k) { return (k + 7) / 8 * 4 + InputSums(k); }
inline constexpr std::size_t kScaleLength = kDotBlockLength;
constexpr std::size_t InputScales(std::size_t k) { return (k + kScaleLength - 1) / kScaleLength; }
inline constexpr float kMostInt16 = 127 * 256 + 127;  // so that both bytes are signed
constexpr std::size_t Int16Words(std::size_t k) { return PairWords(k) + InputScales(k); }
constexpr std::size_t QuadWords(std::size_t k) { return (k + 7) / 8 * 2 + InputScales(k) + InputSums(k); }

// Packs m tokens into m * words_per_token(k) words.
using PackFn = void (*)(const float* x, std::size_t x_stride, std::size_t m, std::size_t k,
                        std::uint32_t* words) noexcept;
struct PackedInput {
  std::size_t (*words_per_token)(std::size_t k) = nullptr;
  PackFn pack = nullptr;
  bool split = false;          // `pack` splits int16 into bytes
  PackFn pack_many = nullptr;  // where a MatmulTile has at least `many` tokens; null: as any others
  std::size_t many = 0;
};

// One panel of weights times m rows of x: y[t][r] = sum_k w[r][k] x[t][k] for r < rows.
//
// Every kernel sums in the same order for every m. Activations in fp32: the blocks of at most 64 k of a group, one
// after the other; inside a block one chain sum = fma(value, x, sum) in the order of k; then total = fma(scale, sum,
// total). Rounded: blocks of at most 128 k; in bf16 a chain of dot products of pairs, in int16 and int8 an integer;
// then total = fma(scale, value, total), value = sum - offset * sum of x, of integers times the scale of the token. The
// offset is what a kernel added to all weights of a row's group.
//
// Weights with a bias: in fp32 the chain is of decoded weights, and the scale is 1. Rounded: total = total + value, of
// integers fma(value, scale of the token, total); value = fma(scale, sum, p) - fma(-bias, sum of x, p), where p = bias
// * sum of x, rounded.
struct MatmulTile {
  const PanelGeometry* geometry = nullptr;
  const FormatRow* format = nullptr;
  const std::uint8_t* panel = nullptr;  // geometry->panel_bytes
  std::size_t rows = 0;                 // 1..64 of the panel that exist
  const float* x = nullptr;             // [m][k]; null for kernels that take it packed
  std::size_t x_stride = 0;
  const std::uint32_t* packed = nullptr;  // m tokens, packed together
  std::size_t m = 0;                      // 1..kMaxTileTokens
  float* y = nullptr;                     // [m][rows]
  std::size_t y_stride = 0;
  float* workspace = nullptr;  // kMatmulWorkspace floats, 64-byte aligned
  // Weights that are read once are prefetched past the caches (prefetchnta), not through them.
  bool fetch_past_caches = true;
  // Kernels that round x write y without reading its lines first, if it and its rows begin with a line.
  bool store_past_caches = false;
};

using MatmulFn = void (*)(const MatmulTile&) noexcept;

// Queries of one kv head for some consecutive positions, against all keys that some of them see. Keys are taken in
// blocks of kKeyBlock counted from position 0, so a row's result does not depend on its neighbours. They are stored as
// products read them. The memory of positions that are not visible, and kKeyBlock - 1 elements after the values, must
// be readable and may have any content.
inline constexpr std::size_t kKeyBlock = 64;
struct AttentionTile {
  const float* q = nullptr;  // [positions][heads * head_dim], of the first row and of the first of these heads
  std::size_t q_stride = 0;
  std::size_t positions = 0;
  std::size_t heads = 0;  // query heads that share the kv head
  std::size_t head_dim = 0;
  // Of this kv head, in fp32, or in fp16 for the functions that say so.
  const void* keys = nullptr;    // [blocks][head_dim][kKeyBlock]
  const void* values = nullptr;  // [blocks * kKeyBlock][head_dim]
  std::size_t position = 0;      // of the first row of q
  float scale = 0;
  std::size_t window = 0;  // a position sees itself and the window - 1 before it; 0 = all before it
  float softcap = 0;       // scores become softcap * tanh(score / softcap); 0 = they stay
  float* out = nullptr;    // as q
  std::size_t out_stride = 0;
  float* workspace = nullptr;  // AttentionWorkspace(positions * heads, head_dim) floats, 64-byte aligned
};

// Rows are position-major: (position, head).
constexpr std::size_t AttentionWorkspace(std::size_t rows, std::size_t head_dim) {
  const std::size_t padded = (head_dim + 63) / 64 * 64;
  return rows * head_dim         // q, scaled
         + rows * padded         // running output
         + rows * 2              // running maximum and sum
         + kKeyBlock * head_dim  // keys of a block
         + kKeyBlock * head_dim  // values of a block
         + kKeyBlock             // what is read behind them
         + kKeyBlock * 8         // scores of a register tile
         + 64 * 7;               // alignment of the seven parts
}

// max x and sum exp(x - max); NaN in the sum when x holds a NaN or +inf.
struct ExpSum {
  float max;
  double sum;
};

// Two rows of logits, x and y, and what their ExpSums say.
struct LogitPair {
  const float* x;
  const float* y;
  float x_max;
  float y_max;
  float ratio;  // sum exp(x - x_max) / sum exp(y - y_max)
  float shift;  // log sum exp(y) - log sum exp(x)
};

// One register tile of a product of dense matrices: c[i][j] = fma(factor, sum_l a[l][i] b[l][j], c[i][j]) for i < rows,
// j < cols; the sum is one chain in the order of l.
template <class T>
struct ProductKernel {
  std::size_t rows;
  std::size_t cols;
  // a [length][rows], b [length][cols], without gaps
  void (*tile)(const T* a, const T* b, std::size_t length, T factor, T* c, std::size_t c_stride) noexcept;
};

// Independent chains of multiply-adds (of dot products) on registers alone: what an instruction set can do at most.
struct PeakLoop {
  double operations_per_step = 0;                      // a multiply-add counts as two
  float (*run)(std::size_t steps) noexcept = nullptr;  // some finite value that depends on all steps
};

// The element-wise operations of one instruction set. All rows are contiguous.
struct OpsTable {
  // weight null: ones; bias null: zeros.
  void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t n, float* y) noexcept;
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, std::size_t n,
                     float* y) noexcept;
  // One row of heads * head_dim, of which the first 2 * pairs of each head turn; cos and sin [pairs].
  void (*rope)(float* x, std::size_t heads, std::size_t head_dim, std::size_t pairs, const float* cos,
               const float* sin) noexcept;  // pairs (i, i + pairs)
  void (*rope_neighbours)(float* x, std::size_t heads, std::size_t head_dim, std::size_t pairs, const float* cos,
                          const float* sin) noexcept;  // pairs (2 i, 2 i + 1)
  void (*attention)(const AttentionTile&) noexcept;
  void (*attention_half)(const AttentionTile&) noexcept;  // keys and values in fp16
  void (*to_half)(const float* x, std::size_t n, std::uint16_t* y) noexcept;
  // gate = f(gate) * up; up null: gate = f(gate).
  void (*silu)(float* gate, const float* up, std::size_t n) noexcept;
  void (*gelu_tanh)(float* gate, const float* up, std::size_t n) noexcept;
  void (*gelu)(float* gate, const float* up, std::size_t n) noexcept;
  void (*add)(float* x, const float* y, float factor, std::size_t n) noexcept;  // x += factor * y
  void (*scale)(float* x, float factor, std::size_t n) noexcept;
  void (*soft_cap)(float* x, float cap, std::size_t n) noexcept;  // x = cap * tanh(x / cap)
  ExpSum (*exp_sum)(const float* x, std::size_t n) noexcept;
  double (*divergence)(const LogitPair& pair, std::size_t n) noexcept;  // KL x sum exp(x - x_max)
  void (*exp)(const float* x, std::size_t n, float* y) noexcept;  // what the others use; for the test of its accuracy
  ProductKernel<float> product;
  ProductKernel<double> double_product;
  PeakLoop peak;
};

// What one instruction set exports; null where it has no kernel.
struct IsaTable {
  MatmulFn any;  // every format, through FormatRow
  MatmulFn fp4;
  MatmulFn int4;
  MatmulFn affine4;
  MatmulFn iq4;
  MatmulFn int8;
  MatmulFn bf16;
  MatmulFn fp16;
  MatmulFn fp32;
  OpsTable ops;
};

// What an instruction set exports that has dot products of rounded activations; null where it has no kernel.
struct DotTable {
  PackedInput input;
  PeakLoop peak;
  MatmulFn fp4;
  MatmulFn int4;
  MatmulFn affine4;
  MatmulFn iq4;
  MatmulFn int8;
  MatmulFn bf16;
};

// Defined where the build has their folder.
extern const IsaTable kScalarTable;
extern const IsaTable kAvx2Table;
extern const IsaTable kAvx512Table;
extern const IsaTable kNeonTable;
extern const DotTable kAvx2QuadTable;         // activations in int8
extern const DotTable kAvx2PairTable;         // activations in int16
extern const DotTable kAvxVnniQuadTable;      // activations in int8
extern const DotTable kAvxVnniPairTable;      // activations in int16
extern const DotTable kAvx512Bf16Table;       // activations in bf16
extern const DotTable kAvx512VnniTable;       // activations in int8
extern const DotTable kAvx512SplitTable;      // activations in int16
extern const DotTable kAvx512VbmiTable;       // activations in int8
extern const DotTable kAvx512VbmiSplitTable;  // activations in int16
extern const DotTable kNeonDotprodTable;      // activations in int8
extern const DotTable kNeonI8mmTable;         // activations in int8
extern const DotTable kNeonBf16Table;         // activations in bf16

}  // namespace marlin
