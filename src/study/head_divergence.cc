#include "study/head_divergence.h"

#include <algorithm>
#include <cmath>

#include "eval/windows.h"

namespace marlin {

Result<HeadDivergence> HeadDivergence::Create(const Model& model, std::size_t ctx) {
  HeadDivergence divergence(model, ctx);
  const std::size_t rows = std::min(kHeadRows, ctx);
  const auto allocated =
      model.backend->AllocateAll({{&divergence.base_, rows * model.description.vocab_size},
                                  {&divergence.other_, rows * model.description.vocab_size},
                                  {&divergence.targets_, rows, ElementType::kI32},
                                  {&divergence.tokens_, rows * kDivergenceColumns, ElementType::kF64}});
  if (!allocated) return allocated.error();
  return divergence;
}

DeviceTensor HeadDivergence::Logits(const DeviceTensor& states, const std::unique_ptr<Buffer>& out) const {
  const DeviceTensor logits = View(out, states.rows, model_->description.vocab_size);
  model_->Logits(states, logits);
  return logits;
}

Result<std::vector<double>> HeadDivergence::Sums(std::span<const std::int32_t> window, const DeviceTensor& base,
                                                 std::span<const DeviceTensor> others) {
  Backend& backend = *model_->backend;
  std::vector<double> sums(others.size(), 0.0);
  std::vector<TokenDivergence> tokens(kHeadRows);
  for (std::size_t begin = 0; begin + 1 < ctx_; begin += kHeadRows) {
    const std::size_t rows = std::min(kHeadRows, ctx_ - 1 - begin);
    const DeviceTensor targets = View(targets_, rows, 1, ElementType::kI32);
    const DeviceTensor results = View(tokens_, rows, kDivergenceColumns, ElementType::kF64);
    backend.Upload(window.subspan(begin + 1, rows), targets);
    const DeviceTensor base_logits = Logits(base.Rows(begin, rows), base_);
    for (std::size_t i = 0; i < others.size(); ++i) {
      backend.Divergence(base_logits, Logits(others[i].Rows(begin, rows), other_), targets, results);
      const auto part = std::span(tokens).first(rows);
      if (auto status = backend.Read(results, part); !status) return status.error();
      for (const TokenDivergence& token : part) sums[i] += token.kl;
    }
  }
  for (const double sum : sums) {
    if (!std::isfinite(sum)) return Error{ErrorCode::kNumerical, "a logit is NaN or infinite"};
  }
  return sums;
}

}  // namespace marlin
