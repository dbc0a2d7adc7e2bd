#include "kernels/reference_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/host_buffer.h"
#include "kernels/region.h"

namespace marlin {
namespace {

class ReferenceWeight final : public Weight {
 public:
  ReferenceWeight(const Device& device, const EncodedMatrixView& matrix, Region memory)
      : Weight(device), info_(matrix.format->info), rows_(matrix.rows), cols_(matrix.cols), memory_(std::move(memory)) {
    float* decoded = reinterpret_cast<float*>(memory_.data());
    for (std::size_t r = 0; r < rows_; ++r) DecodeRow(matrix, r, {decoded + r * cols_, cols_});
  }
  ReferenceWeight(const ReferenceWeight& other, Region memory)
      : Weight(*other.device()),
        info_(other.info_),
        rows_(other.rows_),
        cols_(other.cols_),
        memory_(std::move(memory)) {}
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

// For every layer [context][kv_heads * head_dim] keys, then as many values.
class ReferenceCache final : public KvCache {
 public:
  ReferenceCache(const Device& device, const CacheShape& shape, Region memory)
      : KvCache(device), shape_(shape), memory_(std::move(memory)) {}
  std::size_t resident_bytes() const override { return memory_.size(); }
  const CacheShape& shape() const { return shape_; }
  MatrixView<float> Keys(std::size_t layer) const { return Part(layer, 0); }
  MatrixView<float> Values(std::size_t layer) const { return Part(layer, 1); }

  // Of the first `layers`.
  static std::size_t Floats(const CacheShape& shape, std::size_t layers) {
    std::size_t cols = 0;
    for (std::size_t i = 0; i < layers; ++i) cols += shape.layers[i].kv_heads * shape.layers[i].head_dim;
    return 2 * cols * shape.context;
  }

 private:
  MatrixView<float> Part(std::size_t layer, std::size_t values) const {
    const std::size_t cols = shape_.layers[layer].kv_heads * shape_.layers[layer].head_dim;
    const std::size_t begin = Floats(shape_, layer) + values * shape_.context * cols;
    return {reinterpret_cast<float*>(memory_.data()) + begin, shape_.context, cols};
  }
  CacheShape shape_;
  Region memory_;
};

double Dot(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double Activated(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  if (activation == Activation::kGelu) return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
  const double t = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(t));
}

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  std::string arithmetic() const override { return fmt::format("reference v{}", kArithmeticVersion); }
  int threads() const override { return 1; }

  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override {
    const std::size_t bytes = BytesToAllocate(elements, type);
    Result<Region> memory = Region::Allocate(bytes, "activations");
    if (!memory) return memory.error();
    return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(*this, *std::move(memory), bytes));
  }

  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override { UploadToHost(*this, from, to); }
  void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) override { DownloadFromHost(*this, from, to); }
  void Copy(const DeviceTensor& from, const DeviceTensor& to) override { CopyOnHost(*this, from, to); }
  void Clear(const DeviceTensor& to) override { ClearOnHost(*this, to); }
  Status Synchronize() override { return {}; }

  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    const std::size_t floats = ReferenceCache::Floats(shape, shape.layers.size());
    Result<Region> memory = Region::Allocate(BytesToAllocate(floats, ElementType::kF32), "keys and values");
    if (!memory) return memory.error();
    return std::unique_ptr<KvCache>(std::make_unique<ReferenceCache>(*this, shape, *std::move(memory)));
  }

  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override {
    Result<Region> memory =
        Region::Allocate(BytesToAllocate(matrix.rows * matrix.cols, ElementType::kF32), "decoded weights");
    if (!memory) return memory.error();
    return std::unique_ptr<Weight>(std::make_unique<ReferenceWeight>(*this, matrix, *std::move(memory)));
  }

  void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) override {
    const auto& weight = Own<ReferenceWeight>(*this, table);
    for (std::size_t i = 0; i < out.rows; ++i) {
      const auto token = static_cast<std::size_t>(Ints(tokens).Row(i)[0]);
      std::copy_n(weight.Row(token), out.cols, Floats(out).Row(i).data());
    }
  }

  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto& weight = Own<ReferenceWeight>(*this, *weights[i]);
      const bool biased = !biases.empty() && biases[i].buffer != nullptr;
      for (std::size_t t = 0; t < x.rows; ++t) {
        for (std::size_t r = 0; r < weight.rows(); ++r) {
          const double bias = biased ? Floats(biases[i]).Row(0)[r] : 0.0;
          const double sum = Dot(weight.Row(r), Floats(x).Row(t).data(), x.cols) + bias;
          Floats(outs[i]).Row(t)[r] = static_cast<float>(sum);
        }
      }
    }
  }

  void Norm(const NormArgs& norm) override {
    const std::size_t cols = norm.x.cols;
    for (std::size_t t = 0; t < norm.x.rows; ++t) {
      const std::span<const float> row = Floats(norm.x).Row(t);
      const double mean =
          norm.kind == NormKind::kRms ? 0 : std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(cols);
      double squares = 0;
      for (const float x : row) squares += (x - mean) * (x - mean);
      const double factor = 1 / std::sqrt(squares / static_cast<double>(cols) + norm.eps);
      for (std::size_t i = 0; i < cols; ++i) {
        double value = (row[i] - mean) * factor;
        if (norm.weight.buffer != nullptr) value *= Floats(norm.weight).Row(0)[i];
        if (norm.bias.buffer != nullptr) value += Floats(norm.bias).Row(0)[i];
        Floats(norm.y).Row(t)[i] = static_cast<float>(value);
      }
    }
  }

  void Rope(const RopeArgs& args) override {
    const std::size_t pairs = args.cos.cols;
    for (std::size_t t = 0; t < args.x.rows; ++t) {
      const auto position = static_cast<std::size_t>(Ints(args.positions).Row(t)[0]);
      for (std::size_t head = 0; head < args.x.cols; head += args.head_dim) {
        for (std::size_t i = 0; i < pairs; ++i) {
          float& a = Floats(args.x).Row(t)[head + (args.neighbours ? 2 * i : i)];
          float& b = Floats(args.x).Row(t)[head + (args.neighbours ? 2 * i + 1 : pairs + i)];
          const double c = Floats(args.cos).Row(position)[i];
          const double s = Floats(args.sin).Row(position)[i];
          const double old_a = a;
          const double old_b = b;
          a = static_cast<float>(old_a * c - old_b * s);
          b = static_cast<float>(old_b * c + old_a * s);
        }
      }
    }
  }

  void Append(const AppendArgs& args) override {
    const auto& to = Own<ReferenceCache>(*this, *args.cache);
    const std::size_t position = FirstPosition(*this, args.positions, args.keys.rows);
    for (std::size_t t = 0; t < args.keys.rows; ++t) {
      std::ranges::copy(Floats(args.keys).Row(t), to.Keys(args.layer).Row(position + t).begin());
      std::ranges::copy(Floats(args.values).Row(t), to.Values(args.layer).Row(position + t).begin());
    }
  }

  void Attention(const AttentionArgs& args, const DeviceTensor& out) override {
    for (std::size_t t = 0; t < args.q.rows; ++t) {
      for (std::size_t h = 0; h < args.heads; ++h) AttendHead(args, t, h, Floats(out));
    }
  }

  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override {
    ForEach(gate, [&](double value, std::size_t t, std::size_t i) {
      return Activated(activation, value) * Floats(up).Row(t)[i];
    });
  }

  void Activate(Activation activation, const DeviceTensor& x) override {
    ForEach(x, [&](double value, std::size_t, std::size_t) { return Activated(activation, value); });
  }

  void Add(const DeviceTensor& x, const DeviceTensor& y, float factor) override {
    ForEach(x, [&](double value, std::size_t t, std::size_t i) {
      return value + static_cast<double>(factor) * static_cast<double>(Floats(y).Row(t)[i]);
    });
  }

  void Scale(const DeviceTensor& x, float factor) override {
    ForEach(x, [&](double value, std::size_t, std::size_t) { return value * factor; });
  }

  void SoftCap(const DeviceTensor& x, float cap) override {
    ForEach(x, [&](double value, std::size_t, std::size_t) { return cap * std::tanh(value / cap); });
  }

  void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) override {
    for (std::size_t t = 0; t < logits.rows; ++t) {
      Doubles(nll).Row(t)[0] = NllOf(Floats(logits).Row(t), Ints(targets).Row(t)[0]);
    }
  }

  void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                  const DeviceTensor& out) override {
    for (std::size_t t = 0; t < base.rows; ++t) {
      const std::span<const float> x = Floats(base).Row(t);
      const std::span<const float> y = Floats(other).Row(t);
      const std::int32_t target = Ints(targets).Row(t)[0];
      const bool same_top =
          std::max_element(x.begin(), x.end()) - x.begin() == std::max_element(y.begin(), y.end()) - y.begin();
      const double results[kDivergenceColumns] = {KlOf(x, y), NllOf(x, target), NllOf(y, target), same_top ? 1.0 : 0.0};
      std::ranges::copy(results, Doubles(out).Row(t).begin());
    }
  }

  void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) override {
    std::vector<std::int32_t> order(x.cols);
    for (std::size_t t = 0; t < x.rows; ++t) {
      const std::span<const float> row = Floats(x).Row(t);
      const auto at = [&](std::int32_t i) { return row[static_cast<std::size_t>(i)]; };
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return std::isnan(at(a)) ? !std::isnan(at(b)) : at(a) > at(b);
      });
      for (std::size_t i = 0; i < values.cols; ++i) {
        Ints(columns).Row(t)[i] = order[i];
        Floats(values).Row(t)[i] = at(order[i]);
      }
    }
  }

  void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) override {
    for (std::size_t i = 0; i < x.cols; ++i) {
      double squares = 0;
      double sizes = 0;
      float most = 0;
      for (std::size_t t = 0; t < x.rows; ++t) {
        const float value = Floats(x).Row(t)[i];
        squares += static_cast<double>(value) * static_cast<double>(value);
        sizes += std::abs(static_cast<double>(value));
        most = std::max(most, std::abs(value));
      }
      Doubles(sums).Row(0)[i] = squares;
      Doubles(sums).Row(1)[i] = sizes;
      Floats(largest).Row(0)[i] = most;
    }
  }

  void AddGram(const DeviceTensor& x, const DeviceTensor& gram) override {
    for (std::size_t i = 0; i < x.cols; ++i) {
      for (std::size_t j = i; j < x.cols; ++j) {
        double sum = Floats(gram).Row(i)[j];
        for (std::size_t t = 0; t < x.rows; ++t) {
          sum += static_cast<double>(Floats(x).Row(t)[i]) * static_cast<double>(Floats(x).Row(t)[j]);
        }
        Floats(gram).Row(i)[j] = static_cast<float>(sum);
      }
    }
  }

 private:
  MatrixView<float> Floats(const DeviceTensor& tensor) const { return HostView<float>(*this, tensor); }
  MatrixView<double> Doubles(const DeviceTensor& tensor) const { return HostView<double>(*this, tensor); }
  MatrixView<std::int32_t> Ints(const DeviceTensor& tensor) const { return HostView<std::int32_t>(*this, tensor); }

  // x[t][i] = f(x[t][i], t, i)
  template <class Function>
  void ForEach(const DeviceTensor& x, Function f) const {
    for (std::size_t t = 0; t < x.rows; ++t) {
      for (std::size_t i = 0; i < x.cols; ++i) {
        float& value = Floats(x).Row(t)[i];
        value = static_cast<float>(f(static_cast<double>(value), t, i));
      }
    }
  }

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

  static double NllOf(std::span<const float> row, std::int32_t target) {
    const Softmax softmax = SoftmaxOf(row);
    return softmax.log_sum + (softmax.peak - row[static_cast<std::size_t>(target)]);
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

  void AttendHead(const AttentionArgs& args, std::size_t t, std::size_t h, MatrixView<float> out) const {
    const auto& cache = Own<ReferenceCache>(*this, *args.cache);
    const MatrixView<float> keys = cache.Keys(args.layer);
    const MatrixView<float> values = cache.Values(args.layer);
    const auto [kv_heads, dim] = cache.shape().layers[args.layer];
    const std::size_t count = FirstPosition(*this, args.positions, args.q.rows) + t + 1;
    const std::size_t first = args.window == 0 || args.window > count ? 0 : count - args.window;
    const std::size_t kv = h / (args.heads / kv_heads) * dim;
    const float* q = Floats(args.q).Row(t).data() + h * dim;
    std::vector<double> scores(count);
    double peak = -std::numeric_limits<double>::infinity();
    for (std::size_t j = first; j < count; ++j) {
      scores[j] = Dot(q, keys.Row(j).data() + kv, dim) * args.scale;
      if (args.softcap != 0) scores[j] = args.softcap * std::tanh(scores[j] / args.softcap);
      peak = std::max(peak, scores[j]);
    }
    double sum = 0;
    for (std::size_t j = first; j < count; ++j) sum += scores[j] = std::exp(scores[j] - peak);
    for (std::size_t d = 0; d < dim; ++d) {
      double value = 0;
      for (std::size_t j = first; j < count; ++j) value += scores[j] * values.Row(j)[kv + d];
      out.Row(t)[h * dim + d] = static_cast<float>(value / sum);
    }
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace marlin
