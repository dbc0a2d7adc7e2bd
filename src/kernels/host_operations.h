// For tests: the operations of a backend on matrices in host memory. Each call copies its matrices to the device with
// poisoned gaps between the rows, runs, copies the results back and checks that the gaps are as they were.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/matrix.h"
#include "kernels/backend.h"

namespace marlin {

class HostOperations {
 public:
  using ConstMatrix = MatrixView<const float>;

  struct NormOf {
    ConstMatrix x;
    const float* weight = nullptr;  // [x.cols]; null = ones
    float eps = 0;
    MatrixView<float> y;  // may be x
    NormKind kind = NormKind::kRms;
    const float* bias = nullptr;  // [x.cols]; null = none
  };
  struct AttentionOf {
    ConstMatrix q;
    const KvCache* cache = nullptr;
    std::size_t layer = 0;
    std::size_t heads = 0;
    std::size_t position = 0;  // of the first row
    float scale = 0;
    std::size_t window = 0;
    float softcap = 0;
  };

  explicit HostOperations(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  std::string_view name() const { return backend_->name(); }
  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) { return backend_->AllocateCache(shape); }
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) { return backend_->Pack(matrix); }

  void Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> out) {
    const Matrix to = Put(out);
    backend_->Embed(table, Column(tokens).tensor, to.tensor);
    Get(to, out);
  }
  void Matmul(std::span<const Weight* const> weights, std::span<const float* const> biases, ConstMatrix x,
              std::span<const MatrixView<float>> outs) {
    const Outputs to(*this, outs);
    backend_->Matmul(weights, Biases(weights, biases).tensors, Put(x).tensor, to.tensors);
    to.Get(*this, outs);
  }
  void Norm(const NormOf& norm) {
    const OnDevice on_device(*this, norm);
    backend_->Norm(on_device.args);
    Get(on_device.y, norm.y);
  }
  void NormMatmul(const NormOf& norm, std::span<const Weight* const> weights, std::span<const float* const> biases,
                  std::span<const MatrixView<float>> outs) {
    const OnDevice on_device(*this, norm);
    const Outputs to(*this, outs);
    backend_->NormMatmul(on_device.args, weights, Biases(weights, biases).tensors, to.tensors);
    Get(on_device.y, norm.y);
    to.Get(*this, outs);
  }
  // to += factor * (x * weight^T + bias)
  void MatmulAdd(const Weight& weight, const float* bias, ConstMatrix x, MatrixView<float> to, float factor) {
    const Matrix sums = Put(to);
    const Matrix product = Put(to);  // with the same stride: a library may add in another order otherwise
    backend_->MatmulAdd(weight, PutRow(bias, weight.rows()).tensor, Put(x).tensor, product.tensor, sums.tensor, factor);
    Get(sums, to);
  }
  // A gated activation whose result is multiplied where it is, after products whose results are not used.
  void GatedProduct(Activation activation, MatrixView<float> gate, ConstMatrix up, const Weight& weight,
                    MatrixView<float> out) {
    const Matrix input = Put(gate);
    const Matrix to = Put(out);
    const Weight* const weights[] = {&weight};
    backend_->Matmul(weights, {}, input.tensor, {&to.tensor, 1});
    backend_->GatedActivation(activation, input.tensor, Put(up).tensor);
    backend_->Matmul(weights, {}, input.tensor, {&to.tensor, 1});
    Get(input, gate);
    Get(to, out);
  }
  // gate = activation(norm(x) * gate_weight^T + bias) * (norm(x) * up_weight^T); without a norm, of x itself.
  void GatedMatmul(Activation activation, const NormOf* norm, ConstMatrix x, std::span<const Weight* const> weights,
                   std::span<const float* const> biases, MatrixView<float> gate) {
    const Matrix to = Put(gate);
    const Matrix up = Put(gate);
    GatedArgs args{{}, {}, to.tensor, up.tensor, activation};
    const Matrix input = Put(x);
    args.x = input.tensor;
    std::optional<OnDevice> normed;
    if (norm != nullptr) {
      normed.emplace(*this, *norm);
      args.norm = normed->args;
      args.x = normed->y.tensor;
    }
    backend_->GatedMatmul(args, weights, Biases(weights, biases).tensors);
    Get(to, gate);
  }
  struct RopeOf {
    MatrixView<float> x;
    ConstMatrix cos, sin;
    bool neighbours = false;
  };
  // Rows have positions from `position` on.
  void RopeAppend(const RopeOf& queries, const RopeOf& keys, std::size_t head_dim, KvCache& cache, std::size_t position,
                  ConstMatrix values) {
    const Matrix q = Put(queries.x);
    const Matrix k = Put(keys.x);
    const Matrix positions = Positions(position, keys.x.rows);
    const Matrix tables[] = {Put(queries.cos), Put(queries.sin), Put(keys.cos), Put(keys.sin)};
    const RopeArgs turn_q{q.tensor, head_dim, tables[0].tensor, tables[1].tensor, positions.tensor, queries.neighbours};
    const RopeArgs turn_k{k.tensor, head_dim, tables[2].tensor, tables[3].tensor, positions.tensor, keys.neighbours};
    backend_->RopeAppend(turn_q, turn_k, {&cache, 0, positions.tensor, k.tensor, Put(values).tensor});
    Get(q, queries.x);
    Get(k, keys.x);
  }
  // Row t has position t of the tables.
  void Rope(MatrixView<float> x, std::size_t head_dim, ConstMatrix cos, ConstMatrix sin, bool neighbours = false) {
    const Matrix to = Put(x);
    backend_->Rope({to.tensor, head_dim, Put(cos).tensor, Put(sin).tensor, Positions(0, x.rows).tensor, neighbours});
    Get(to, x);
  }
  void Append(KvCache& cache, std::size_t layer, std::size_t position, ConstMatrix keys, ConstMatrix values) {
    backend_->Append({&cache, layer, Positions(position, keys.rows).tensor, Put(keys).tensor, Put(values).tensor});
    EXPECT_TRUE(backend_->Synchronize().ok());
  }
  void Attention(const AttentionOf& args, MatrixView<float> out) {
    const Matrix to = Put(out);
    backend_->Attention({Put(args.q).tensor, args.cache, args.layer, args.heads,
                         Positions(args.position, args.q.rows).tensor, args.scale, args.window, args.softcap},
                        to.tensor);
    Get(to, out);
  }
  void GatedActivation(Activation activation, MatrixView<float> gate, ConstMatrix up) {
    const Matrix to = Put(gate);
    backend_->GatedActivation(activation, to.tensor, Put(up).tensor);
    Get(to, gate);
  }
  void Activate(Activation activation, MatrixView<float> x) {
    const Matrix to = Put(x);
    backend_->Activate(activation, to.tensor);
    Get(to, x);
  }
  void Add(MatrixView<float> x, ConstMatrix y, float factor = 1) {
    const Matrix to = Put(x);
    backend_->Add(to.tensor, Put(y).tensor, factor);
    Get(to, x);
  }
  void Scale(MatrixView<float> x, float factor) {
    const Matrix to = Put(x);
    backend_->Scale(to.tensor, factor);
    Get(to, x);
  }
  void SoftCap(MatrixView<float> x, float cap) {
    const Matrix to = Put(x);
    backend_->SoftCap(to.tensor, cap);
    Get(to, x);
  }
  void CrossEntropy(ConstMatrix logits, std::span<const std::int32_t> targets, std::span<double> nll) {
    const Matrix to = Column(nll);
    backend_->CrossEntropy(Put(logits).tensor, Column(targets).tensor, to.tensor);
    EXPECT_TRUE(backend_->Read(to.tensor, nll).ok());
  }
  void Divergence(ConstMatrix base, ConstMatrix other, std::span<const std::int32_t> targets,
                  std::span<TokenDivergence> out) {
    const Matrix to = New(out.size(), kDivergenceColumns, ElementType::kF64);
    backend_->Divergence(Put(base).tensor, Put(other).tensor, Column(targets).tensor, to.tensor);
    EXPECT_TRUE(backend_->Read(to.tensor, out).ok());
  }
  void TopK(ConstMatrix x, MatrixView<float> values, std::span<std::int32_t> columns) {
    const Matrix largest = Put(values);
    const Matrix places = New(values.rows, values.cols, ElementType::kI32);
    backend_->TopK(Put(x).tensor, largest.tensor, places.tensor);
    Get(largest, values);
    EXPECT_TRUE(backend_->Read(places.tensor, columns).ok());
  }
  // sums [2 * k], largest [k]
  void Moments(ConstMatrix x, std::span<double> sums, std::span<float> largest) {
    const Matrix totals = New(2, x.cols, ElementType::kF64);
    const Matrix most = New(1, x.cols, ElementType::kF32);
    backend_->Moments(Put(x).tensor, totals.tensor, most.tensor);
    backend_->Download(most.tensor, largest);
    EXPECT_TRUE(backend_->Read(totals.tensor, sums).ok());
  }
  void AddGram(ConstMatrix x, MatrixView<float> gram) {
    const Matrix to = Put(gram);
    backend_->AddGram(Put(x).tensor, to.tensor);
    Get(to, gram);
  }

 private:
  struct Matrix {
    std::shared_ptr<Buffer> buffer;
    DeviceTensor tensor;
  };
  struct OnDevice {
    OnDevice(HostOperations& operations, const NormOf& norm)
        : x(operations.Put(norm.x)),
          weight(operations.PutRow(norm.weight, norm.x.cols)),
          bias(operations.PutRow(norm.bias, norm.x.cols)) {
      y = norm.y.data == norm.x.data ? x : operations.Put(norm.y);
      args = {x.tensor, weight.tensor, norm.eps, y.tensor, norm.kind, bias.tensor};
    }
    Matrix x, weight, bias, y;
    NormArgs args;
  };
  struct Outputs {
    Outputs(HostOperations& operations, std::span<const MatrixView<float>> outs) {
      for (const auto& out : outs) tensors.push_back(matrices.emplace_back(operations.Put(out)).tensor);
    }
    void Get(HostOperations& operations, std::span<const MatrixView<float>> outs) const {
      for (std::size_t i = 0; i < outs.size(); ++i) operations.Get(matrices[i], outs[i]);
    }
    std::vector<Matrix> matrices;
    std::vector<DeviceTensor> tensors;
  };

  Matrix New(std::size_t rows, std::size_t cols, ElementType type) {
    auto buffer = backend_->Allocate(rows * cols, type);
    EXPECT_TRUE(buffer.ok());
    Matrix matrix{std::move(*buffer), {}};
    matrix.tensor = {matrix.buffer.get(), 0, type, rows, cols, cols};
    return matrix;
  }
  template <class Values>
  Matrix Column(Values values) {
    Matrix matrix =
        New(values.size(), 1, std::is_same_v<Values, std::span<double>> ? ElementType::kF64 : ElementType::kI32);
    backend_->Upload(values, matrix.tensor);
    return matrix;
  }
  Matrix Positions(std::size_t first, std::size_t count) {
    std::vector<std::int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(first));
    return Column(std::span<const std::int32_t>(positions));
  }
  Outputs Biases(std::span<const Weight* const> weights, std::span<const float* const> biases) {
    Outputs all(*this, {});
    for (std::size_t i = 0; i < biases.size(); ++i) {
      all.matrices.push_back(PutRow(biases[i], weights[i]->rows()));
      all.tensors.push_back(all.matrices.back().tensor);
    }
    return all;
  }

  static std::size_t Floats(ConstMatrix x) { return x.rows == 0 ? 0 : (x.rows - 1) * x.stride + x.cols; }

  Matrix Put(ConstMatrix x) {
    std::vector<float> flat(Floats(x), std::numeric_limits<float>::quiet_NaN());
    for (std::size_t r = 0; r < x.rows; ++r)
      std::ranges::copy(x.Row(r), flat.begin() + static_cast<std::ptrdiff_t>(r * x.stride));
    Matrix matrix = New(1, flat.size(), ElementType::kF32);
    backend_->Upload(flat, matrix.tensor);
    matrix.tensor = {matrix.buffer.get(), 0, ElementType::kF32, x.rows, x.cols, x.stride};
    return matrix;
  }
  // No tensor where `row` is null.
  Matrix PutRow(const float* row, std::size_t cols) { return row == nullptr ? Matrix() : Put({row, 1, cols}); }
  void Get(const Matrix& matrix, MatrixView<float> to) {
    std::vector<float> flat(Floats(to));
    EXPECT_TRUE(backend_->Read({matrix.buffer.get(), 0, ElementType::kF32, 1, flat.size(), flat.size()}, flat).ok());
    for (std::size_t r = 0; r < to.rows; ++r) {
      const auto row = std::span(flat).subspan(r * to.stride);
      std::ranges::copy(row.first(to.cols), to.Row(r).begin());
      const std::size_t gap = std::min(to.stride, row.size());
      for (std::size_t c = to.cols; c < gap; ++c) ASSERT_TRUE(std::isnan(row[c])) << "row " << r << " column " << c;
    }
  }

  std::unique_ptr<Backend> backend_;
};

}  // namespace marlin
