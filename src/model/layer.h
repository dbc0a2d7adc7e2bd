// One decoder layer: attention and MLP with their norms and residual connections. Sessions run all layers in order.
// Calibration and sequential quantization run one layer at a time over many sequences.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/config.h"
#include "model/weights.h"

namespace marlin {

// Called with the input of linear layers before they run: x [m, k], in the backend's memory. Layers that share their
// input are shown once, under the first of them: kQ (q, k, v), kO, kGate (gate, up), kDown.
using LinearObserver = std::function<void(Slot first, MatrixView<const float> x)>;

// The linear layers that share the input shown under `first`.
std::span<const Slot> SlotsThatShare(Slot first);
inline constexpr Slot kInputs[] = {kQ, kO, kGate, kDown};

// A buffer's first rows * cols floats as a matrix.
inline MatrixView<float> View(const std::unique_ptr<Buffer>& buffer, std::size_t rows, std::size_t cols) {
  return {buffer->data(), rows, cols};
}

// What a layer needs beside its weights for up to `m` tokens at a time.
struct LayerScratch {
  std::unique_ptr<Buffer> normed, q, k, v, attention, gate, up, projected, cos, sin;

  // Errors: kResource.
  static Result<LayerScratch> Create(const ModelConfig& config, Backend& backend, std::size_t m);
  static std::size_t Floats(const ModelConfig& config, std::size_t m);

  // Angles of m tokens from `position` on, for each of some sequences; once for all layers of a forward pass.
  void PrepareRotation(const ModelConfig& config, Backend& backend, std::size_t position, std::size_t m,
                       std::size_t sequences = 1);
};

// hidden [sequences * m, hidden], one sequence after the other, is replaced by the layer's output. Each sequence has a
// cache, which holds the positions before `position` of its layer `index`; those of the m tokens are added.
struct LayerState {
  MatrixView<float> hidden;
  std::span<const std::unique_ptr<KvCache>> caches;
  std::size_t index = 0;
  std::size_t position = 0;
};
void RunLayer(const ModelConfig& config, Backend& backend, const Layer& layer, const LayerScratch& scratch,
              const LayerState& state, const LinearObserver& observer = {});

// A sequence inside a layer, in host memory. Each part of a layer, named by its input in kInputs, takes it on:
// kQ and kGate read `hidden` and leave what kO and kDown read in `between`; those add to `hidden`.
struct Midway {
  MatrixView<float> hidden;   // [tokens, hidden_size]
  MatrixView<float> between;  // [tokens, k of the next part: q_size or intermediate_size]
};

// One layer over sequences of the same length, each from position 0.
class LayerRunner {
 public:
  // The backend outlives the runner. Errors: kResource.
  static Result<LayerRunner> Create(const ModelConfig& config, Backend& backend, std::size_t tokens);

  // hidden [tokens, hidden_size] in host memory, in and out.
  void Run(const Layer& layer, MatrixView<float> hidden, const LinearObserver& observer = {});

  // Shows the input of one part without running it.
  void ShowInput(const Layer& layer, Slot first, const Midway& at, const LinearObserver& observer);
  // Runs one part; all four in the order of kInputs give the bits of Run.
  void RunPart(const Layer& layer, Slot first, const Midway& at);

 private:
  LayerState State(std::size_t tokens) const;
  void Load(Slot first, const Midway& at);
  ModelConfig config_;
  Backend* backend_ = nullptr;
  LayerScratch scratch_;
  std::unique_ptr<Buffer> hidden_;
  std::unique_ptr<KvCache> cache_;  // of one layer
};

}  // namespace marlin
