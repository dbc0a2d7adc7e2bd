#include "study/head_divergence.h"

#include <algorithm>
#include <cmath>

#include "eval/windows.h"

namespace marlin {

Result<HeadDivergence> HeadDivergence::Create(const Model& model, std::size_t ctx) {
  HeadDivergence divergence(model, ctx);
  const std::size_t rows = std::min(kHeadRows, ctx);
  for (auto [buffer, cols] : {std::pair{&divergence.states_, model.description.hidden_size},
                              std::pair{&divergence.base_, model.description.vocab_size},
                              std::pair{&divergence.other_, model.description.vocab_size}}) {
    auto allocated = model.backend->Allocate(rows * cols);
    if (!allocated) return allocated.error();
    *buffer = std::move(*allocated);
  }
  return divergence;
}

MatrixView<const float> HeadDivergence::Logits(std::span<const float> states, std::size_t begin, std::size_t rows,
                                               Buffer& out) {
  const std::size_t hidden = model_->description.hidden_size;
  const Weight* head = &model_->head();
  const float* no_bias = nullptr;
  const MatrixView<float> logits(out.data(), rows, head->rows());
  model_->backend->Upload(states.subspan(begin * hidden, rows * hidden), states_->data());
  model_->backend->Matmul({&head, 1}, {&no_bias, 1}, MatrixView<const float>(states_->data(), rows, hidden),
                          {&logits, 1});
  return logits;
}

Result<std::vector<double>> HeadDivergence::Sums(std::span<const std::int32_t> window, std::span<const float> base,
                                                 std::span<const std::span<const float>> others) {
  std::vector<double> sums(others.size(), 0.0);
  std::vector<TokenDivergence> tokens(kHeadRows);
  for (std::size_t begin = 0; begin + 1 < ctx_; begin += kHeadRows) {
    const std::size_t rows = std::min(kHeadRows, ctx_ - 1 - begin);
    const auto base_logits = Logits(base, begin, rows, *base_);
    for (std::size_t i = 0; i < others.size(); ++i) {
      const auto logits = Logits(others[i], begin, rows, *other_);
      model_->backend->Divergence(base_logits, logits, window.subspan(begin + 1, rows), std::span(tokens).first(rows));
      for (const TokenDivergence& token : std::span(tokens).first(rows)) sums[i] += token.kl;
    }
  }
  for (const double sum : sums) {
    if (!std::isfinite(sum)) return Error{ErrorCode::kNumerical, "a logit is NaN or infinite"};
  }
  return sums;
}

}  // namespace marlin
