// Backend: the operations of a forward pass. The only virtual interface of the project. Matrices are row-major fp32 in
// the backend's own memory (on a device: device pointers in a MatrixView).
//
// m tokens (rows of activations), n outputs, k reduction, everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/matrix.h"
#include "base/result.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// A weight matrix [n, k] in the backend's compute layout. Made by Backend::Pack.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual std::size_t rows() const = 0;  // n
  virtual std::size_t cols() const = 0;  // k
  virtual const FormatInfo& format() const = 0;
  virtual std::size_t resident_bytes() const = 0;             // memory held, padding included
  virtual Result<std::unique_ptr<Weight>> Clone() const = 0;  // the same weights elsewhere. Errors: kResource
  virtual std::string_view kernel() const = 0;                // which row of the kernel table serves it
};

// Memory of the backend; freed by the destructor.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual float* data() = 0;
  virtual std::size_t size() const = 0;  // floats
};

// Keys and values of one sequence, for all layers, as the backend's attention reads them.
struct CacheShape {
  std::size_t layers = 0;
  std::size_t context = 0;  // positions
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
};
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual std::size_t resident_bytes() const = 0;
};

// Comparison of two models' predictions of a next token: p = softmax of one model's logits, q of the other's.
struct TokenDivergence {
  double kl = 0;          // sum_j p_j log(p_j / q_j), nats, at least 0
  double base_nll = 0;    // -log p of the right token
  double other_nll = 0;   // -log q of it
  bool same_top = false;  // the largest logit is at the same place; the first of equals counts
};

enum class Activation { kSilu, kGeluTanh, kGelu };

// No backend supports wider heads.
inline constexpr std::size_t kMaxHeadDim = 512;

struct AttentionArgs {
  MatrixView<const float> q;       // [m, heads * head_dim], rotated
  const KvCache* cache = nullptr;  // holds the positions up to position + m - 1 of this layer
  std::size_t layer = 0;
  std::size_t heads = 0;     // a multiple of the cache's kv_heads
  std::size_t position = 0;  // of the first row of q; row i attends to positions 0 .. position + i
  float scale = 0;           // usually 1 / sqrt(head_dim)
};

// y = x / sqrt(mean(x^2) + eps) * weight, row by row.
struct RmsNormArgs {
  MatrixView<const float> x;
  const float* weight = nullptr;  // [x.cols]
  float eps = 0;
  MatrixView<float> y;  // as x; may be x
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // "cpu", "reference"
  virtual int threads() const = 0;

  // Errors: kResource.
  virtual Result<std::unique_ptr<Buffer>> Allocate(std::size_t floats) = 0;
  virtual void Upload(std::span<const float> from, float* to) = 0;
  virtual void Download(const float* from, std::span<float> to) = 0;

  // The cache is empty. Errors: kResource.
  virtual Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) = 0;

  // Copies a weight into the compute layout. Errors: kResource, kUnsupported (no kernel takes it: says why).
  virtual Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) = 0;

  // out[i] = row tokens[i] of the table, decoded. Tokens are in range. out [tokens, k]
  virtual void Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> out) = 0;

  // outs[i] = x * weights[i]^T (+ biases[i], which may be null) for weights that share their input: x [m, k],
  // outs[i] [m, n_i]. The same bits for every number of threads, and for a row whatever m it came with.
  virtual void Matmul(std::span<const Weight* const> weights, std::span<const float* const> biases,
                      MatrixView<const float> x, std::span<const MatrixView<float>> outs) = 0;

  virtual void RmsNorm(const RmsNormArgs& norm) = 0;

  // RmsNorm, then Matmul with its y: the same bits, perhaps faster.
  virtual void NormMatmul(const RmsNormArgs& norm, std::span<const Weight* const> weights,
                          std::span<const float* const> biases, std::span<const MatrixView<float>> outs) {
    RmsNorm(norm);
    Matmul(weights, biases, norm.y, outs);
  }

  // Rotates x [m, heads * head_dim] in place, halves layout: pair (i, i + d/2) of every head by the angle whose cosine
  // and sine are in cos/sin [m, d/2].
  virtual void Rope(MatrixView<float> x, std::size_t head_dim, MatrixView<const float> cos,
                    MatrixView<const float> sin) = 0;

  // Puts rotated keys and values [m, kv_heads * head_dim] at positions position .. position + m - 1 of a layer. A cache
  // may round them to fp16 where products round activations too.
  virtual void Append(KvCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
                      MatrixView<const float> values) = 0;

  // Causal softmax attention; out [m, heads * head_dim].
  virtual void Attention(const AttentionArgs& args, MatrixView<float> out) = 0;

  // gate = activation(gate) * up
  virtual void GatedActivation(Activation activation, MatrixView<float> gate, MatrixView<const float> up) = 0;

  // x += y
  virtual void Add(MatrixView<float> x, MatrixView<const float> y) = 0;

  // nll[i] = log(sum_j exp(logits[i, j])) - logits[i, targets[i]], in nats; sums in double. A row with a NaN or +inf
  // gives NaN. nll has logits.rows elements, in host memory.
  virtual void CrossEntropy(MatrixView<const float> logits, std::span<const std::int32_t> targets,
                            std::span<double> nll) = 0;

  // out[i] for row i of the two matrices, of the same shape; the nlls are CrossEntropy's, bit for bit. kl is exactly 0
  // for equal rows, never negative, and within 1e-5 of itself + 1e-12; not finite when a logit is not. out is in host
  // memory.
  virtual void Divergence(MatrixView<const float> base, MatrixView<const float> other,
                          std::span<const std::int32_t> targets, std::span<TokenDivergence> out) = 0;
};

}  // namespace marlin
