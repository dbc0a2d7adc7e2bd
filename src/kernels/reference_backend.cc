#include "kernels/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/region.h"

namespace marlin {
namespace {

class ReferenceWeight final : public Weight {
 public:
  ReferenceWeight(const EncodedMatrixView& matrix, Region memory)
      : info_(matrix.format->info), rows_(matrix.rows), cols_(matrix.cols), memory_(std::move(memory)) {
    float* decoded = reinterpret_cast<float*>(memory_.data());
    for (std::size_t r = 0; r < rows_; ++r) DecodeRow(matrix, r, {decoded + r * cols_, cols_});
  }
  ReferenceWeight(const ReferenceWeight& other, Region memory)
      : info_(other.info_), rows_(other.rows_), cols_(other.cols_), memory_(std::move(memory)) {}
  std::size_t rows() const override { return rows_; }
  std::size_t cols() const override { return cols_; }
  const FormatInfo& format() const override { return info_; }
  Result<std::unique_ptr<Weight>> Clone() const override {
    auto memory = memory_.Clone();
    if (!memory) return memory.error();
    return std::unique_ptr<Weight>(std::make_unique<ReferenceWeight>(*this, std::move(*memory)));
  }
  std::size_t resident_bytes() const override { return rows_ * cols_ * sizeof(float); }
  std::string_view kernel() const override { return "reference"; }
  const float* Row(std::size_t r) const { return reinterpret_cast<const float*>(memory_.data()) + r * cols_; }

 private:
  FormatInfo info_;
  std::size_t rows_;
  std::size_t cols_;
  Region memory_;  // [rows][cols] fp32
};

class ReferenceBuffer final : public Buffer {
 public:
  ReferenceBuffer(Region memory, std::size_t floats) : memory_(std::move(memory)), floats_(floats) {}
  float* data() override { return reinterpret_cast<float*>(memory_.data()); }
  std::size_t size() const override { return floats_; }

 private:
  Region memory_;
  std::size_t floats_;
};

// [layers][context][kv_heads * head_dim] keys, then as many values.
class ReferenceCache final : public KvCache {
 public:
  ReferenceCache(const CacheShape& shape, Region memory) : shape_(shape), memory_(std::move(memory)) {}
  std::size_t resident_bytes() const override { return memory_.size(); }
  const CacheShape& shape() const { return shape_; }
  MatrixView<float> Keys(std::size_t layer) const { return Part(layer); }
  MatrixView<float> Values(std::size_t layer) const { return Part(shape_.layers + layer); }

 private:
  MatrixView<float> Part(std::size_t index) const {
    const std::size_t cols = shape_.kv_heads * shape_.head_dim;
    return {reinterpret_cast<float*>(memory_.data()) + index * shape_.context * cols, shape_.context, cols};
  }
  CacheShape shape_;
  Region memory_;
};

const ReferenceCache& AsReference(const KvCache& cache) { return static_cast<const ReferenceCache&>(cache); }

const ReferenceWeight& AsReference(const Weight& weight) { return static_cast<const ReferenceWeight&>(weight); }

double Dot(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double Activate(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  if (activation == Activation::kGelu) return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
  const double t = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(t));
}

Result<Region> AllocateFloats(std::size_t floats, const char* what) {
  const std::size_t most = std::numeric_limits<std::size_t>::max() / sizeof(float);
  return Region::Allocate(floats > most ? most : std::max<std::size_t>(floats, 1) * sizeof(float), what);
}

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  int threads() const override { return 1; }

  Result<std::unique_ptr<Buffer>> Allocate(std::size_t floats) override {
    Result<Region> memory = AllocateFloats(floats, "activations");
    if (!memory) return memory.error();
    return std::unique_ptr<Buffer>(std::make_unique<ReferenceBuffer>(*std::move(memory), floats));
  }

  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    Result<Region> memory =
        AllocateFloats(2 * shape.layers * shape.context * shape.kv_heads * shape.head_dim, "keys and values");
    if (!memory) return memory.error();
    return std::unique_ptr<KvCache>(std::make_unique<ReferenceCache>(shape, *std::move(memory)));
  }

  void Upload(std::span<const float> from, float* to) override { std::copy(from.begin(), from.end(), to); }
  void Download(const float* from, std::span<float> to) override { std::copy_n(from, to.size(), to.begin()); }

  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override {
    Result<Region> memory = AllocateFloats(matrix.rows * matrix.cols, "decoded weights");
    if (!memory) return memory.error();
    return std::unique_ptr<Weight>(std::make_unique<ReferenceWeight>(matrix, *std::move(memory)));
  }

  void Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> out) override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::copy_n(AsReference(table).Row(static_cast<std::size_t>(tokens[i])), out.cols, out.Row(i).data());
    }
  }

  void Matmul(std::span<const Weight* const> weights, std::span<const float* const> biases, MatrixView<const float> x,
              std::span<const MatrixView<float>> outs) override {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const ReferenceWeight& weight = AsReference(*weights[i]);
      const float* bias = biases.empty() ? nullptr : biases[i];
      for (std::size_t t = 0; t < x.rows; ++t) {
        for (std::size_t r = 0; r < weight.rows(); ++r) {
          const double sum = Dot(weight.Row(r), x.Row(t).data(), x.cols) + (bias == nullptr ? 0.0 : bias[r]);
          outs[i].Row(t)[r] = static_cast<float>(sum);
        }
      }
    }
  }

  void RmsNorm(const RmsNormArgs& norm) override {
    const std::size_t cols = norm.x.cols;
    for (std::size_t t = 0; t < norm.x.rows; ++t) {
      const float* row = norm.x.Row(t).data();
      const double factor = 1 / std::sqrt(Dot(row, row, cols) / static_cast<double>(cols) + norm.eps);
      for (std::size_t i = 0; i < cols; ++i) norm.y.Row(t)[i] = static_cast<float>(row[i] * factor * norm.weight[i]);
    }
  }

  void Rope(MatrixView<float> x, std::size_t head_dim, MatrixView<const float> cos,
            MatrixView<const float> sin) override {
    const std::size_t half = head_dim / 2;
    for (std::size_t t = 0; t < x.rows; ++t) {
      for (std::size_t head = 0; head < x.cols; head += head_dim) {
        for (std::size_t i = 0; i < half; ++i) {
          float& a = x.Row(t)[head + i];
          float& b = x.Row(t)[head + half + i];
          const double c = cos.Row(t)[i];
          const double s = sin.Row(t)[i];
          const double old_a = a;
          const double old_b = b;
          a = static_cast<float>(old_a * c - old_b * s);
          b = static_cast<float>(old_b * c + old_a * s);
        }
      }
    }
  }

  void Append(KvCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
              MatrixView<const float> values) override {
    const ReferenceCache& to = AsReference(cache);
    for (std::size_t t = 0; t < keys.rows; ++t) {
      std::ranges::copy(keys.Row(t), to.Keys(layer).Row(position + t).begin());
      std::ranges::copy(values.Row(t), to.Values(layer).Row(position + t).begin());
    }
  }

  void Attention(const AttentionArgs& args, MatrixView<float> out) override {
    for (std::size_t t = 0; t < args.q.rows; ++t) {
      for (std::size_t h = 0; h < args.heads; ++h) AttendHead(args, t, h, out);
    }
  }

  void GatedActivation(Activation activation, MatrixView<float> gate, MatrixView<const float> up) override {
    for (std::size_t t = 0; t < gate.rows; ++t) {
      for (std::size_t i = 0; i < gate.cols; ++i) {
        float& g = gate.Row(t)[i];
        g = static_cast<float>(Activate(activation, g) * up.Row(t)[i]);
      }
    }
  }

  void Add(MatrixView<float> x, MatrixView<const float> y) override {
    for (std::size_t t = 0; t < x.rows; ++t) {
      for (std::size_t i = 0; i < x.cols; ++i) x.Row(t)[i] += y.Row(t)[i];
    }
  }

  void CrossEntropy(MatrixView<const float> logits, std::span<const std::int32_t> targets,
                    std::span<double> nll) override {
    for (std::size_t t = 0; t < logits.rows; ++t) {
      const std::span<const float> row = logits.Row(t);
      const Softmax softmax = SoftmaxOf(row);
      nll[t] = softmax.log_sum + (softmax.peak - row[static_cast<std::size_t>(targets[t])]);
    }
  }

  void Divergence(MatrixView<const float> base, MatrixView<const float> other, std::span<const std::int32_t> targets,
                  std::span<TokenDivergence> out) override {
    std::vector<double> nll(base.rows);
    std::vector<double> other_nll(base.rows);
    CrossEntropy(base, targets, nll);
    CrossEntropy(other, targets, other_nll);
    for (std::size_t t = 0; t < base.rows; ++t) {
      const std::span<const float> x = base.Row(t);
      const std::span<const float> y = other.Row(t);
      const bool same_top =
          std::max_element(x.begin(), x.end()) - x.begin() == std::max_element(y.begin(), y.end()) - y.begin();
      out[t] = {KlOf(x, y), nll[t], other_nll[t], same_top};
    }
  }

 private:
  struct Softmax {
    double peak, log_sum;  // softmax(x) = exp(x - peak - log_sum)
  };
  static Softmax SoftmaxOf(std::span<const float> row) {
    double peak = -std::numeric_limits<double>::infinity();
    for (const float x : row) peak = std::max(peak, static_cast<double>(x));
    double sum = 0;
    for (const float x : row) sum += std::exp(x - peak);
    return {peak, std::log(sum)};
  }

  // sum q - p - p log(q / p): the sum of q - p is 0, and no term is negative beyond rounding. Where p and q are near
  // each other the difference cancels less as p (expm1(t) - t), t = log(q / p).
  static double KlOf(std::span<const float> x, std::span<const float> y) {
    const Softmax p = SoftmaxOf(x);
    const Softmax q = SoftmaxOf(y);
    double sum = 0;
    for (std::size_t j = 0; j < x.size(); ++j) {
      const double log_p = x[j] - p.peak - p.log_sum;
      const double log_q = y[j] - q.peak - q.log_sum;
      const double t = log_q - log_p;
      const double term =
          std::abs(t) < 0.5 ? std::exp(log_p) * (std::expm1(t) - t) : std::exp(log_q) - std::exp(log_p) * (1 + t);
      sum += term < 0 ? 0 : term;
    }
    return sum;
  }

  static void AttendHead(const AttentionArgs& args, std::size_t t, std::size_t h, MatrixView<float> out) {
    const ReferenceCache& cache = AsReference(*args.cache);
    const MatrixView<float> keys = cache.Keys(args.layer);
    const MatrixView<float> values = cache.Values(args.layer);
    const std::size_t dim = cache.shape().head_dim;
    const std::size_t count = args.position + t + 1;
    const std::size_t kv = h / (args.heads / cache.shape().kv_heads) * dim;
    const float* q = args.q.Row(t).data() + h * dim;
    std::vector<double> scores(count);
    double peak = -std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < count; ++j) {
      scores[j] = Dot(q, keys.Row(j).data() + kv, dim) * args.scale;
      peak = std::max(peak, scores[j]);
    }
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - peak);
    for (std::size_t d = 0; d < dim; ++d) {
      double value = 0;
      for (std::size_t j = 0; j < count; ++j) value += scores[j] * values.Row(j)[kv + d];
      out.Row(t)[h * dim + d] = static_cast<float>(value / sum);
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace marlin
