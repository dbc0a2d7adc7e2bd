// Divergence of the predictions of changed hidden states from the baseline's: the same head is applied to both, in
// pieces.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model.h"

namespace marlin {

class HeadDivergence {
 public:
  // The model outlives it. Errors: kResource.
  static Result<HeadDivergence> Create(const Model& model, std::size_t ctx);

  // Sum of KL(base || other) over the ctx - 1 predictions of a window, in nats, for each of `others`. States are final
  // hidden states [ctx, hidden] on the model's device. Errors: kNumerical, those of the device.
  Result<std::vector<double>> Sums(std::span<const std::int32_t> window, const DeviceTensor& base,
                                   std::span<const DeviceTensor> others);

 private:
  HeadDivergence(const Model& model, std::size_t ctx) : model_(&model), ctx_(ctx) {}
  // Queues the logits of some positions.
  DeviceTensor Logits(const DeviceTensor& states, const std::unique_ptr<Buffer>& out) const;

  const Model* model_;
  std::size_t ctx_;
  std::unique_ptr<Buffer> base_, other_, targets_, tokens_;  // of some positions
};

}  // namespace marlin
