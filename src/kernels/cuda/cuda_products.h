// Products of a CUDA device and what stands beside them: norms before, activations and additions after. It keeps the
// memory for rounded tokens and decoded weights, and knows which tokens are rounded already.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/cuda_queue.h"
#include "kernels/cuda/cuda_weight.h"
#include "kernels/cuda/round.h"

namespace marlin {

class CudaProducts {
 public:
  // Both outlive the products.
  CudaProducts(CudaQueue& queue, cuda::Cublas& cublas) : queue_(queue), cublas_(cublas) {}

  // As Backend's. False: nothing was queued; the operations are to be queued one by one.
  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs);
  void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                  std::span<const DeviceTensor> outs);
  bool MatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x, const DeviceTensor& product,
                 const DeviceTensor& to, float factor);
  bool GatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases);
  // gate = activation(gate) * up
  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) {
    ActivateFor(activation, gate, up, {});
  }

  // Another operation may have changed what was rounded.
  void Forget() { ahead_ = {}; }
  // Of the memory that operations use; recordings of an older one are made again.
  std::uint64_t generation() const { return generation_; }

 private:
  // At least so many bytes. Errors are noted.
  bool Reserve(std::size_t bytes, const char* what, CudaMemory& memory);

  // How tokens are rounded for products: not at all; as few.h wants it; or row by row, as halves.h wants it.
  enum class Layout { kPlain, kFew, kRows };

  // The layout that serves all the weights. Several weights that want different ones are multiplied one by one.
  Layout LayoutFor(std::span<const Weight* const> weights, std::size_t tokens) const;

  // Whether so many tokens are rounded together in this layout.
  static bool RoundsAtOnce(Layout layout, std::size_t tokens);

  // Memory for rounded tokens; their powers come before their halves. False: noted.
  bool ReserveFor(std::size_t tokens, std::size_t cols, Layout layout);

  const cuda::Rounded& RoundedFor(Layout layout) const;

  // Rounds x, unless the operation before did it. False where there is no memory, which is noted.
  bool RoundFor(const DeviceTensor& tokens, Layout layout);

  // The norm; its rounded numbers too, if products want them.
  void NormFor(const NormArgs& norm, Layout layout);

  // The gated activation, rounded as the last products wanted their tokens: those that come next are of the same kind.
  void ActivateFor(Activation activation, const DeviceTensor& gate, const DeviceTensor& up,
                   const cuda::PendingScale& pending);

  // outs = x * weights^T + biases
  void Multiply(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
                std::span<const DeviceTensor> outs);

  // By the kernels that round nothing. At least one token.
  void MultiplyPlain(const CudaWeight& weight, cuda::View<const float> bias, const DeviceTensor& x,
                     const DeviceTensor& out);

  // Products with the tokens of few_, those of one format together, unless they write to the same place. added: outs +=
  // *added * products.
  void MultiplyFew(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                   std::span<const DeviceTensor> outs, std::optional<float> added);

  // to += factor * products
  struct Addition {
    cuda::View<float> to;
    float factor = 0;
  };

  // A product with the tokens of rows_, by the kernel for so many tokens or by cuBLAS. added: `out` may be changed, and
  // the product is added elsewhere.
  void MultiplyRows(const CudaWeight& weight, cuda::View<const float> bias, std::size_t tokens, cuda::View<float> out,
                    const std::optional<Addition>& added);

  // The sums of the products with the tokens of rows_, without the powers of two. fp16 weights are multiplied as they
  // are.
  void MultiplyByCublas(const CudaWeight& weight, std::size_t tokens, cuda::View<float> out);

  cuda::View<const float> BiasOf(std::span<const DeviceTensor> biases, std::size_t i) const;

  void CheckProducts(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                     const DeviceTensor& x, std::span<const DeviceTensor> outs) const;

  // Rows of a weight that are decoded at once.
  static std::size_t RowsAtOnce(const CudaWeight& weight);

  // Some rows of the weight after the other are decoded and multiplied.
  void MultiplyMany(const CudaWeight& weight, cuda::View<const float> bias, cuda::View<const float> x,
                    cuda::View<float> out);

  void Finish() {
    Forget();
    queue_.NoteLaunch();
  }

  CudaQueue& queue_;
  cuda::Cublas& cublas_;
  CudaMemory decoded_;
  CudaMemory few_memory_, rows_memory_;
  cuda::Rounded few_, rows_;      // in them, tokens in the two layouts
  std::uint64_t generation_ = 0;  // of these memories; recordings of older ones are made again
  // Tokens that the operation before rounded, in one of the layouts.
  struct Ahead {
    Layout layout = Layout::kPlain;
    cuda::View<const float> x = {};
  };
  Ahead ahead_;
  Layout last_ = Layout::kPlain;  // of the last products
};

}  // namespace marlin
