// Backend: a device with the operations of a forward pass, of its measurement and of calibration. The only virtual
// interface of the project beside Device, which it extends. Operations are queued (device.h). Matrices are fp32 unless
// said otherwise; a CHECK holds shapes and types.
//
// m tokens (rows of activations), n outputs, k reduction, everywhere.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/encoded_matrix.h"
#include "kernels/device.h"

namespace marlin {

// A weight matrix [n, k] in the backend's compute layout. Made by Backend::Pack. It never changes.
class Weight : public DeviceObject {
 public:
  virtual std::size_t rows() const = 0;  // n
  virtual std::size_t cols() const = 0;  // k
  virtual const FormatInfo& format() const = 0;
  virtual std::size_t resident_bytes() const = 0;             // memory held, padding included
  virtual Result<std::unique_ptr<Weight>> Clone() const = 0;  // the same weights elsewhere. Errors: kResource
  virtual std::string_view kernel() const = 0;                // which row of the kernel table serves it

  using DeviceObject::DeviceObject;
};

// Keys and values of one sequence, for all layers, as the backend's attention reads them.
struct CacheLayer {
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
};
struct CacheShape {
  std::size_t context = 0;  // positions
  std::vector<CacheLayer> layers;
};
class KvCache : public DeviceObject {
 public:
  virtual std::size_t resident_bytes() const = 0;

  using DeviceObject::DeviceObject;
};

// Comparison of two models' predictions of a next token: p = softmax of one model's logits, q of the other's. A row of
// the output of Backend::Divergence.
struct TokenDivergence {
  double kl = 0;         // sum_j p_j log(p_j / q_j), nats, at least 0
  double base_nll = 0;   // -log p of the right token
  double other_nll = 0;  // -log q of it
  double same_top = 0;   // 1 = the largest logit is at the same place; the first of equals counts. Else 0
};
inline constexpr std::size_t kDivergenceColumns = sizeof(TokenDivergence) / sizeof(double);

enum class Activation { kSilu, kGeluTanh, kGelu };

// No backend supports wider heads.
inline constexpr std::size_t kMaxHeadDim = 512;

// Positions of tokens are an int32 tensor [m, 1] on the device. So a decode step has the same arguments every time.
struct RopeArgs {
  DeviceTensor x;  // [m, heads * head_dim], in and out
  std::size_t head_dim = 0;
  DeviceTensor cos, sin;    // [context, pairs], a row for every position; the first 2 * pairs of each head turn
  DeviceTensor positions;   // [m, 1]
  bool neighbours = false;  // pair i is (2 i, 2 i + 1) instead of (i, i + pairs)
};

struct AppendArgs {
  KvCache* cache = nullptr;
  std::size_t layer = 0;
  DeviceTensor positions;     // [m, 1], each one more than the one before
  DeviceTensor keys, values;  // [m, kv_heads * head_dim]; keys are rotated
};

struct AttentionArgs {
  DeviceTensor q;                  // [m, heads * head_dim], rotated
  const KvCache* cache = nullptr;  // holds all positions up to that of the last row
  std::size_t layer = 0;
  std::size_t heads = 0;   // a multiple of the cache's kv_heads
  DeviceTensor positions;  // [m, 1], each one more than the one before
  float scale = 0;         // usually 1 / sqrt(head_dim)
  std::size_t window = 0;  // a row attends to its own position and the window - 1 before it; 0 = to all before it
  float softcap = 0;       // scores become softcap * tanh(score / softcap) before the softmax; 0 = they stay
};

// Row by row: kRms: y = x / sqrt(mean(x^2) + eps) * weight; kLayer: y = (x - mean(x)) / sqrt(variance(x) + eps) *
// weight + bias.
enum class NormKind { kRms, kLayer };

struct NormArgs {
  DeviceTensor x;
  DeviceTensor weight;  // [1, x.cols]; without a buffer all are 1
  float eps = 0;
  DeviceTensor y;  // as x; may be x
  NormKind kind = NormKind::kRms;
  DeviceTensor bias = {};  // [1, x.cols]; without a buffer there is none; of kLayer only
};

struct GatedArgs {
  std::optional<NormArgs> norm;  // whose y is x
  DeviceTensor x;
  DeviceTensor gate, up;  // products with the first and with the second weight
  Activation activation = Activation::kSilu;
};

// c = factor * a b, or added to c. All fp32 or all fp64; c overlaps neither a nor b.
struct DenseProductArgs {
  DeviceTensor a;           // [m, l]; transposed: [l, m]
  DeviceTensor b;           // [l, n]
  DeviceTensor c;           // [m, n]
  bool transposed = false;  // a
  bool adds = false;        // else what c held is not read
  double factor = 1;
};

// Dense linear algebra for methods that work with X^T X. Queued as operations are; the same bits from run to run.
class DenseAlgebra {
 public:
  virtual ~DenseAlgebra() = default;

  virtual void MultiplyDense(const DenseProductArgs& args) = 0;

  // out[i][j] = factor * S[order[i]][order[j]]: out [k, k] in fp32 or fp64, rounded once; S the symmetric matrix whose
  // columns j >= i of row i `upper` [k, k] has, the others are not read. order: int32 [k, 1], in range; without a
  // buffer rows and columns stay in place. `out` does not overlap `upper`.
  virtual void Symmetrize(const DeviceTensor& upper, const DeviceTensor& order, double factor,
                          const DeviceTensor& out) = 0;
};

// The params of all groups of a matrix, searched as on a host (formats/search.h), with the same bits.
struct ScaleSearchArgs {
  const FormatRow* format = nullptr;  // has groups
  DeviceTensor weights;               // [n, k]
  DeviceTensor importance;            // [1, k]
  DeviceTensor params;                // int32 [n, groups * kParamWords], without gaps: a GroupParams every kParamWords
  bool improves = false;              // from the params that are there, whose units stay; else they are not read
};
inline constexpr std::size_t kParamWords = sizeof(GroupParams) / sizeof(std::int32_t);
static_assert(sizeof(GroupParams) % sizeof(std::int32_t) == 0);

// A matrix of weights on its way to codes. Its columns are rows here: so its rows, which do not depend on each other,
// lie side by side.
struct CodedTensors {
  const FormatRow* format = nullptr;  // has groups
  DeviceTensor weights;               // [k, n]
  DeviceTensor codes;                 // int32 [k, n]
  DeviceTensor params;                // as in ScaleSearchArgs
};

// A block of positions of `gptq` (formats/round_row.h), of all rows. All fp64 but the order.
struct RoundBlockArgs {
  CodedTensors matrix;
  DeviceTensor order;     // int32 [width, 1] the column at each position
  DeviceTensor pivots;    // [width, 1], without gaps
  DeviceTensor feedback;  // [width, width]
  DeviceTensor fed;       // [width, n] is changed
  DeviceTensor errors;    // [width, n]
};

// A block of columns of a coordinate descent (formats/descend_row.h), of all rows. The columns begin at a group.
struct DescendBlockArgs {
  CodedTensors matrix;
  std::size_t low = 0;    // the first column
  DeviceTensor square;    // [width, width]
  DeviceTensor gradient;  // [width, n] is changed
  DeviceTensor errors;    // [k, n] weight - value, and stays so
  DeviceTensor changed;   // int32 [1, 1] becomes 1 where anything changed
};

constexpr std::size_t WordsOfCodes(std::size_t k) { return (k + 3) / 4; }

// What methods of quantization do with groups and rows by themselves. Queued as operations are; the same bits from run
// to run.
class Quantizer {
 public:
  virtual ~Quantizer() = default;

  virtual void SearchScales(const ScaleSearchArgs& args) = 0;

  // to[j][i] = from[i][j]
  virtual void Transpose(const DeviceTensor& from, const DeviceTensor& to) = 0;

  // Codes of at most 8 bits as bytes, a row of the matrix after the other: bytes int32 [n, WordsOfCodes(k)]; what fills
  // the last word of a row is undefined.
  virtual void PackCodes(const CodedTensors& matrix, const DeviceTensor& bytes) = 0;

  virtual void RoundBlock(const RoundBlockArgs& args) = 0;

  // errors [k, n] = weight - decoded value
  virtual void FindErrors(const CodedTensors& matrix, const DeviceTensor& errors) = 0;

  virtual void DescendBlock(const DescendBlockArgs& args) = 0;
};

class Backend : public Device {
 public:
  // Null where the host's products are as fast. It lives as long as the backend.
  virtual DenseAlgebra* dense_algebra() { return nullptr; }

  // Null where there is no dense algebra. It lives as long as the backend.
  virtual Quantizer* quantizer() { return nullptr; }

  // The cache is empty. Errors: kResource.
  virtual Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) = 0;

  // Copies a weight into the compute layout, before it returns. Errors: kResource, kUnsupported (no kernel takes it:
  // says why).
  virtual Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) = 0;

  // Bytes of the device's memory that Pack takes for a matrix, known without its numbers.
  virtual std::size_t BytesToPack(const FormatInfo& format, std::size_t rows, std::size_t cols) const {
    return SizeOfEncoded(format, rows, cols).total();
  }

  // out[i] = row tokens[i] of the table, decoded. tokens: int32 [m, 1], in range. out [m, k]
  virtual void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) = 0;

  // outs[i] = x * weights[i]^T (+ biases[i] [1, n_i]; without a buffer there is none) for weights that share their
  // input: x [m, k], outs[i] [m, n_i]. The same bits for every number of threads, and from run to run; on a host also
  // for a row whatever m it came with. No biases at all = none.
  virtual void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                      const DeviceTensor& x, std::span<const DeviceTensor> outs) = 0;

  // to += factor * (x * weight^T + bias): the same bits as a Matmul into `product` [m, n] and Add, perhaps faster.
  // `product` may be changed or not.
  virtual void MatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x,
                         const DeviceTensor& product, const DeviceTensor& to, float factor) {
    const Weight* const weights[] = {&weight};
    Matmul(weights, {&bias, 1}, x, {&product, 1});
    Add(to, product, factor);
  }

  virtual void Norm(const NormArgs& norm) = 0;

  // Norm, then Matmul with its y: the same bits, perhaps faster.
  virtual void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights,
                          std::span<const DeviceTensor> biases, std::span<const DeviceTensor> outs) {
    Norm(norm);
    Matmul(weights, biases, norm.y, outs);
  }

  // NormMatmul, or Matmul where there is no norm, of a gate and of what it is multiplied by; then GatedActivation. `up`
  // is undefined afterwards. The same numbers, perhaps faster.
  virtual void GatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights,
                           std::span<const DeviceTensor> biases) {
    const DeviceTensor outs[] = {args.gate, args.up};
    if (args.norm) {
      NormMatmul(*args.norm, weights, biases, outs);
    } else {
      Matmul(weights, biases, args.x, outs);
    }
    GatedActivation(args.activation, args.gate, args.up);
  }

  // Rotates in place every pair of every head by the angle of its position.
  virtual void Rope(const RopeArgs& args) = 0;

  // Puts keys and values at their positions of a layer. A cache may round them to fp16 where products round activations
  // too.
  virtual void Append(const AppendArgs& args) = 0;

  // Rope of queries and of the keys that are appended, then Append: the same bits, perhaps faster.
  virtual void RopeAppend(const RopeArgs& queries, const RopeArgs& keys, const AppendArgs& append) {
    Rope(queries);
    Rope(keys);
    Append(append);
  }

  // Causal softmax attention; out [m, heads * head_dim] of the layer's head_dim.
  virtual void Attention(const AttentionArgs& args, const DeviceTensor& out) = 0;

  // gate = activation(gate) * up; both may be columns of one matrix.
  virtual void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) = 0;

  // x = activation(x)
  virtual void Activate(Activation activation, const DeviceTensor& x) = 0;

  // x += factor * y
  virtual void Add(const DeviceTensor& x, const DeviceTensor& y, float factor = 1) = 0;

  // x *= factor
  virtual void Scale(const DeviceTensor& x, float factor) = 0;

  // x = cap * tanh(x / cap), cap > 0
  virtual void SoftCap(const DeviceTensor& x, float cap) = 0;

  // nll[i] = log(sum_j exp(logits[i, j])) - logits[i, targets[i]], in nats; sums in double. A row with a NaN or +inf
  // gives NaN. targets: int32 [m, 1]. nll: fp64 [m, 1].
  virtual void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) = 0;

  // Row i of `out`, fp64 [m, kDivergenceColumns], is the TokenDivergence of row i of the two matrices, of the same
  // shape. The nlls are CrossEntropy's, bit for bit. kl is exactly 0 for equal rows, never negative, and within 1e-5 of
  // itself + 1e-12; not finite when a logit is not. targets: int32 [m, 1].
  virtual void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                          const DeviceTensor& out) = 0;

  // The largest values of each row of x, descending, and their columns: values [m, count], columns int32 [m, count].
  // The first of equals comes first. A NaN counts as larger than every number.
  virtual void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) = 0;

  // Sums over the rows of x [m, k], on a host in their order: sums fp64 [2, k] of x^2 and of |x|, and largest [1, k] of
  // |x|. The sums of a channel with a NaN or an infinity are not finite.
  virtual void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) = 0;

  // gram += x^T x: gram [k, k], of which only columns j >= i of row i are changed. The same bits for every number of
  // threads.
  virtual void AddGram(const DeviceTensor& x, const DeviceTensor& gram) = 0;
};

}  // namespace marlin
