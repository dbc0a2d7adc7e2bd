#include "kernels/cuda/cuda_products.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/few.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/many.h"

namespace marlin {
namespace {

// Rows that are decoded at once have at most so many numbers.
constexpr std::size_t kMostDecoded = std::size_t{1} << 26;

}  // namespace

void CudaProducts::Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                          const DeviceTensor& x, std::span<const DeviceTensor> outs) {
  CheckProducts(weights, biases, x, outs);
  Multiply(weights, biases, x, outs);
  Finish();
}

void CudaProducts::NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights,
                              std::span<const DeviceTensor> biases, std::span<const DeviceTensor> outs) {
  CheckProducts(weights, biases, norm.y, outs);
  NormFor(norm, LayoutFor(weights, norm.x.rows));
  Multiply(weights, biases, norm.y, outs);
  Finish();
}

bool CudaProducts::MatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x,
                             const DeviceTensor& product, const DeviceTensor& to, float factor) {
  const Weight* const weights[] = {&weight};
  const std::span<const DeviceTensor> biases(&bias, 1);
  CheckProducts(weights, biases, x, {&to, 1});
  const Layout layout = LayoutFor(weights, x.rows);
  if (!RoundsAtOnce(layout, x.rows) || !RoundFor(x, layout)) return false;
  if (layout == Layout::kFew) {
    MultiplyFew(weights, biases, {&to, 1}, factor);
  } else {
    MultiplyRows(Own<const CudaWeight>(queue_.device(), weight), queue_.FloatsOrNone(bias), x.rows,
                 queue_.Floats(product), Addition{queue_.Floats(to), factor});
  }
  last_ = layout;
  Finish();
  return true;
}

bool CudaProducts::GatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights,
                               std::span<const DeviceTensor> biases) {
  const DeviceTensor outs[] = {args.gate, args.up};
  CheckProducts(weights, biases, args.x, outs);
  const Layout layout = LayoutFor(weights, args.x.rows);
  if (layout != Layout::kRows || args.x.rows <= cuda::kMostFewTokens) {
    return false;
  }
  // Enough for the activation too: it reads the powers of x and writes its own in their place.
  if (!ReserveFor(args.x.rows, std::max(args.x.cols, args.gate.cols), layout)) return true;
  if (args.norm) NormFor(*args.norm, layout);
  if (!RoundFor(args.x, layout)) return true;
  const auto is_for_many = [&](const Weight* x) {
    return Own<const CudaWeight>(queue_.device(), *x).IsForMany(args.x.rows);
  };
  // The kernel of many.h scales its sums. Those of cuBLAS are scaled by the activation.
  const bool scaled = std::ranges::any_of(weights, is_for_many);
  cuda::PendingScale pending;
  if (!scaled) pending.powers = rows_.powers;
  for (std::size_t i = 0; i < 2; ++i) {
    const CudaWeight& weight = Own<const CudaWeight>(queue_.device(), *weights[i]);
    if (scaled) {
      MultiplyRows(weight, BiasOf(biases, i), args.x.rows, queue_.Floats(outs[i]), {});
      continue;
    }
    MultiplyByCublas(weight, args.x.rows, queue_.Floats(outs[i]));
    (i == 0 ? pending.gate_power : pending.factor_power) = weight.power();
    (i == 0 ? pending.gate_bias : pending.factor_bias) = BiasOf(biases, i).data;
  }
  last_ = layout;
  ActivateFor(args.activation, args.gate, args.up, pending);
  return true;
}

bool CudaProducts::Reserve(std::size_t bytes, const char* what, CudaMemory& memory) {
  if (memory.bytes() >= bytes && memory.data() != nullptr) return true;
  memory = CudaMemory();
  ++generation_;
  const Status status = CudaMemory::Allocate(bytes, what, queue_.On()).MoveTo(memory);
  if (!status) queue_.Note(status);
  return status.ok();
}

CudaProducts::Layout CudaProducts::LayoutFor(std::span<const Weight* const> weights, std::size_t tokens) const {
  const auto all = [&](auto holds) {
    return std::ranges::all_of(weights,
                               [&](const Weight* x) { return holds(Own<const CudaWeight>(queue_.device(), *x)); });
  };
  if (tokens == 0) return Layout::kPlain;
  const bool many = tokens > cuda::kMostFewTokens;
  if (!many && all([](const CudaWeight& x) { return x.is_few(); })) return Layout::kFew;
  const auto by_rows = [&](const CudaWeight& x) { return x.rounds() && (many || x.is_halves()); };
  return all(by_rows) ? Layout::kRows : Layout::kPlain;
}

bool CudaProducts::RoundsAtOnce(Layout layout, std::size_t tokens) {
  return tokens > 0 && (layout == Layout::kRows || (layout == Layout::kFew && tokens <= cuda::kMostFewTokens));
}

bool CudaProducts::ReserveFor(std::size_t tokens, std::size_t cols, Layout layout) {
  const bool few = layout == Layout::kFew;
  const std::size_t powers = AlignedTo(tokens * sizeof(float), kPartAlignment);
  const std::size_t halves = few ? cuda::HalfBytes(tokens, cols) : tokens * cuda::PaddedCols(cols) * 2;
  CudaMemory& memory = few ? few_memory_ : rows_memory_;
  const std::uint64_t before = generation_;
  if (!Reserve(powers + halves, "rounded activations", memory)) return false;
  if (generation_ != before) ahead_ = {};  // what was rounded is gone
  (few ? few_ : rows_) = {memory.data() + powers, reinterpret_cast<float*>(memory.data()), few};
  return true;
}

const cuda::Rounded& CudaProducts::RoundedFor(Layout layout) const { return layout == Layout::kFew ? few_ : rows_; }

bool CudaProducts::RoundFor(const DeviceTensor& tokens, Layout layout) {
  const cuda::View<const float> x = queue_.ConstFloats(tokens);
  const cuda::View<const float>& known = ahead_.x;
  if (ahead_.layout == layout && known.data == x.data && known.rows == x.rows && known.cols == x.cols &&
      known.stride == x.stride) {
    return true;
  }
  if (!ReserveFor(x.rows, x.cols, layout)) return false;
  cuda::RoundTokens(x, RoundedFor(layout), queue_.On());
  ahead_ = {layout, x};
  return true;
}

void CudaProducts::NormFor(const NormArgs& norm, Layout layout) {
  if (!RoundsAtOnce(layout, norm.x.rows) || !ReserveFor(norm.x.rows, norm.x.cols, layout)) {
    cuda::Normalize(norm.kind, queue_.ConstFloats(norm.x), queue_.FloatsOrNone(norm.weight),
                    queue_.FloatsOrNone(norm.bias), norm.eps, queue_.Floats(norm.y), queue_.On());
    ahead_ = {};
    return;
  }
  cuda::NormalizeTokens(norm.kind, queue_.ConstFloats(norm.x), queue_.FloatsOrNone(norm.weight),
                        queue_.FloatsOrNone(norm.bias), norm.eps, queue_.Floats(norm.y), RoundedFor(layout),
                        queue_.On());
  ahead_ = {layout, queue_.ConstFloats(norm.y)};
}

void CudaProducts::ActivateFor(Activation activation, const DeviceTensor& gate, const DeviceTensor& up,
                               const cuda::PendingScale& pending) {
  if (!RoundsAtOnce(last_, gate.rows) || !ReserveFor(gate.rows, gate.cols, last_)) {
    cuda::Activate(activation, queue_.Floats(gate), queue_.ConstFloats(up), queue_.On());
    return Finish();
  }
  cuda::ActivateTokens(activation, queue_.Floats(gate), queue_.ConstFloats(up), pending, RoundedFor(last_),
                       queue_.On());
  Finish();
  ahead_ = {last_, queue_.ConstFloats(gate)};
}

void CudaProducts::Multiply(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                            const DeviceTensor& x, std::span<const DeviceTensor> outs) {
  const Layout layout = LayoutFor(weights, x.rows);
  if (layout == Layout::kFew) {
    if (!RoundFor(x, layout)) return;
    MultiplyFew(weights, biases, outs, {});
  } else if (layout == Layout::kRows) {
    if (!RoundFor(x, layout)) return;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const CudaWeight& weight = Own<const CudaWeight>(queue_.device(), *weights[i]);
      MultiplyRows(weight, BiasOf(biases, i), x.rows, queue_.Floats(outs[i]), {});
    }
  } else if (weights.size() > 1) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      Multiply(weights.subspan(i, 1), biases.empty() ? biases : biases.subspan(i, 1), x, outs.subspan(i, 1));
    }
  } else if (x.rows > 0 && !weights.empty()) {
    MultiplyPlain(Own<const CudaWeight>(queue_.device(), *weights[0]), BiasOf(biases, 0), x, outs[0]);
  }
  last_ = layout;
}

void CudaProducts::MultiplyPlain(const CudaWeight& weight, cuda::View<const float> bias, const DeviceTensor& x,
                                 const DeviceTensor& out) {
  if (x.rows > cuda::kMostFewTokens) {
    MultiplyMany(weight, bias, queue_.ConstFloats(x), queue_.Floats(out));
  } else {
    cuda::MultiplyFew(weight.packed(), bias, queue_.ConstFloats(x), queue_.Floats(out), queue_.On());
  }
}

void CudaProducts::MultiplyFew(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                               std::span<const DeviceTensor> outs, std::optional<float> added) {
  std::vector<cuda::FewProduct> products;
  const auto queue = [&] {
    cuda::MultiplyFewRounded(products, static_cast<const std::uint8_t*>(few_.halves), few_.powers, added, queue_.On());
    products.clear();
  };
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const CudaWeight& weight = Own<const CudaWeight>(queue_.device(), *weights[i]);
    const cuda::View<float> out = queue_.Floats(outs[i]);
    const auto together = [&](const cuda::FewProduct& other) {
      return other.weight->format == weight.few().format && other.out.data != out.data;
    };
    if (products.size() == cuda::kMostTogether || !std::ranges::all_of(products, together)) queue();
    products.push_back({&weight.few(), BiasOf(biases, i), out});
  }
  queue();
}

void CudaProducts::MultiplyRows(const CudaWeight& weight, cuda::View<const float> bias, std::size_t tokens,
                                cuda::View<float> out, const std::optional<Addition>& added) {
  const std::optional<float> factor = added ? std::optional(added->factor) : std::nullopt;
  const cuda::View<float> to = added ? added->to : out;
  if (weight.is_halves() && tokens <= cuda::kMostFewTokens) {
    cuda::MultiplyHalvesFew(weight.packed().codes, weight.packed().pitch / 2, weight.cols(), rows_.halves, rows_.powers,
                            weight.power(), bias, to, factor, queue_.On());
    return;
  }
  if (weight.IsForMany(tokens)) {
    cuda::MultiplyManyRounded({&weight.few(), bias, to}, rows_.halves, rows_.powers, factor, queue_.On());
    return;
  }
  MultiplyByCublas(weight, tokens, out);
  const Addition sums = added.value_or(Addition());
  cuda::ScaleTokens(out, rows_.powers, weight.power(), bias, sums.to, sums.factor, queue_.On());
}

void CudaProducts::MultiplyByCublas(const CudaWeight& weight, std::size_t tokens, cuda::View<float> out) {
  const std::size_t k = cuda::PaddedCols(weight.cols()), at_once = RowsAtOnce(weight);
  if (!weight.is_halves() && !Reserve(at_once * k * 2, "decoded weights", decoded_)) return;
  const float power = weight.power();
  for (std::size_t first = 0; first < weight.rows(); first += at_once) {
    const std::size_t count = std::min(at_once, weight.rows() - first);
    const void* rows = decoded_.data();
    if (weight.is_halves()) {
      rows = weight.packed().codes + first * weight.packed().pitch;
    } else if (weight.is_few()) {
      cuda::DecodeRowsToHalves(weight.few(), first, count, power, decoded_.data(), queue_.On());
    } else {
      cuda::DecodeRowsToHalves(weight.packed(), first, count, power, decoded_.data(), queue_.On());
    }
    queue_.Note(cublas_.MultiplyHalves(rows_.halves, rows, k, {out.data + first, tokens, count, out.stride}));
  }
}

cuda::View<const float> CudaProducts::BiasOf(std::span<const DeviceTensor> biases, std::size_t i) const {
  return biases.empty() ? cuda::View<const float>() : queue_.FloatsOrNone(biases[i]);
}

void CudaProducts::CheckProducts(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                                 const DeviceTensor& x, std::span<const DeviceTensor> outs) const {
  MARLIN_CHECK(weights.size() == outs.size() && (biases.empty() || biases.size() == outs.size()),
               "an output for each weight");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const CudaWeight& weight = Own<const CudaWeight>(queue_.device(), *weights[i]);
    const bool fits = x.cols == weight.cols() && outs[i].cols == weight.rows() && outs[i].rows == x.rows;
    MARLIN_CHECK(fits, "shape of a product");
  }
}

std::size_t CudaProducts::RowsAtOnce(const CudaWeight& weight) {
  const std::size_t most = std::max<std::size_t>(1, kMostDecoded / std::max<std::size_t>(1, weight.cols()));
  return std::min(weight.rows(), AlignedTo(most, cuda::kRecordRows));
}

void CudaProducts::MultiplyMany(const CudaWeight& weight, cuda::View<const float> bias, cuda::View<const float> x,
                                cuda::View<float> out) {
  const std::size_t at_once = RowsAtOnce(weight);
  if (!Reserve(at_once * weight.cols() * sizeof(float), "decoded weights", decoded_)) return;
  auto* const rows = reinterpret_cast<float*>(decoded_.data());
  for (std::size_t first = 0; first < weight.rows(); first += at_once) {
    const std::size_t count = std::min(at_once, weight.rows() - first);
    cuda::DecodeRows(weight.packed(), first, count, rows, queue_.On());
    queue_.Note(cublas_.Multiply(x, rows, {out.data + first, out.rows, count, out.stride}));
  }
  if (bias.data != nullptr) cuda::AddRow(bias, out, queue_.On());
}

}  // namespace marlin
