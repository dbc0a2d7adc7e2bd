// Makes the encoded matrices of a model one after the other: by a method alone, with statistics from a file, or layer
// by layer over calibration windows (LayerWalk), each layer made whole before the next is looked at.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "quantize/layer_store.h"
#include "quantize/layer_walk.h"
#include "quantize/method.h"

namespace marlin {

// Where the statistics of a method come from. At most one of the two is set.
struct MakerInput {
  const ModelStatistics* statistics = nullptr;      // of this model
  const CalibrationWindows* calibration = nullptr;  // walked over with `backend`
  Backend* backend = nullptr;
  std::optional<LayerStore> store;  // where a walk keeps finished layers
};

class WeightMaker {
 public:
  // formats: of every stem to be made. Everything given outlives the maker. Errors: those of LayerWalk::Create.
  static Result<WeightMaker> Create(const Checkpoint& checkpoint, const ModelConfig& config, const Method& method,
                                    std::map<std::string, const FormatRow*> formats, MakerInput input, ThreadPool& pool,
                                    const ProgressFn& progress);

  // The matrix of a stem; with calibration, layers are asked for in ascending order, each of their stems once. A stem
  // that no statistics belong to (embedding, head) is made by `mse` where the method cannot do without. Errors:
  // kNumerical (NaN in weights or activations), kInterrupted, and those of the method and of loading.
  Result<EncodedMatrix> Make(const std::string& stem);

  // The work is stored elsewhere: what was kept for a resumed run can go.
  void Done();

 private:
  WeightMaker(const Checkpoint& checkpoint, const ModelConfig& config, const Method& method, MakerInput input,
              ThreadPool& pool, const ProgressFn& progress);
  struct Place {
    std::size_t layer = 0;
    Slot slot = kQ;
  };
  Result<std::vector<float>> Values(const Tensor& tensor);
  Result<EncodedMatrix> Run(const std::string& stem, const InputStatistics* statistics);
  Status WalkTo(std::size_t layer);
  Result<EncodedLayer> MakeLayer(std::size_t layer);

  const Checkpoint* checkpoint_;
  const ModelConfig* config_;
  const Method* method_;
  MakerInput input_;
  ThreadPool* pool_;
  const ProgressFn* progress_;
  std::map<std::string, const FormatRow*> formats_;
  std::map<std::string, Place> places_;  // of the stems in layers
  std::optional<LayerWalk> walk_;
  EncodedLayer layer_;  // the one before walk_->next()
};

}  // namespace marlin
