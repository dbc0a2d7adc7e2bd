#include "bench/reference_product.h"

#include <utility>

#include "bench/limits.h"
#include "bench/operands.h"

namespace marlin {
namespace {

constexpr std::size_t kHalfBytes = 2;

DeviceTensor Pairs(const std::unique_ptr<Buffer>& buffer, std::size_t rows, std::size_t cols) {
  return View(buffer, rows, cols / 2, ElementType::kI32);
}

}  // namespace

Result<std::optional<ReferenceProduct>> ReferenceProduct::Create(Backend& backend, MatrixView<const float> weights,
                                                                 std::size_t memory_bytes, ThreadPool& pool) {
  const std::size_t n = weights.rows, k = weights.cols;
  if (backend.yardsticks() == nullptr || n % 8 != 0 || k % 8 != 0) return std::optional<ReferenceProduct>();
  ReferenceProduct product(backend);
  product.n_ = n;
  product.k_ = k;
  auto copy = UploadHalfPairs(backend, weights, pool);
  const std::size_t bytes = n * k * kHalfBytes, wanted = BytesToRotate(backend);
  for (;;) {
    if (!copy) return copy.error();
    product.copies_.push_back(std::move(*copy));
    const std::size_t held = product.copies_.size() * bytes;
    if (held > wanted || held + bytes > memory_bytes) break;
    copy = backend.Allocate(n * k / 2, ElementType::kI32);
    if (copy) backend.Copy(Pairs(product.copies_[0], n, k), Pairs(*copy, n, k));
  }
  if (auto status = backend.Synchronize(); !status) return status.error();
  return std::optional(std::move(product));
}

Status ReferenceProduct::AddTokens(MatrixView<const float> x, ThreadPool& pool) {
  Tokens tokens;
  tokens.m = x.rows;
  if (auto status = UploadHalfPairs(*backend_, x, pool).MoveTo(tokens.x); !status) return status;
  auto y = backend_->Allocate(x.rows * n_ / 2, ElementType::kI32);
  if (auto status = std::move(y).MoveTo(tokens.y); !status) return status;
  tokens_.push_back(std::move(tokens));
  return {};
}

void ReferenceProduct::Queue(std::size_t tokens, std::size_t products) const {
  const DeviceTensor x = Pairs(tokens_[tokens].x, tokens_[tokens].m, k_);
  for (std::size_t i = 0; i < products; ++i) {
    const DeviceTensor weights = Pairs(copies_[i % copies_.size()], n_, k_);
    backend_->yardsticks()->MultiplyHalfPairs(x, weights, out(tokens));
  }
}

std::size_t ReferenceProduct::bytes(std::size_t tokens) const {
  const std::size_t m = tokens_[tokens].m;
  return kHalfBytes * (n_ * k_ + m * k_ + m * n_);
}

DeviceTensor ReferenceProduct::out(std::size_t tokens) const { return Pairs(tokens_[tokens].y, tokens_[tokens].m, n_); }

}  // namespace marlin
