// Makes the tensors of a quantized model one after the other: without statistics, with statistics from a file, or layer
// by layer over calibration windows (LayerWalk), where each layer is finished before the next one starts. Where
// channels are scaled, norms and biases change with the matrices, so a layer is made as a whole there too.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/channel_folding.h"
#include "quantize/layer_store.h"
#include "quantize/layer_walk.h"
#include "quantize/method.h"
#include "quantize/source_tensors.h"

namespace marlin {

// The source of a method's statistics. At most one of the two is set.
struct MakerInput {
  const ModelStatistics* statistics = nullptr;      // of this model, not rotated
  const CalibrationWindows* calibration = nullptr;  // walked over with `backend`
  Backend* backend = nullptr;
  std::optional<LayerStore> store;  // where a walk keeps finished layers
};

class WeightMaker {
 public:
  // formats: of every tensor of the plan, by its name there: a stem for what is quantized, else a tensor's whole name.
  // The recipe has the statistics that it cannot miss. Everything given outlives the maker. Errors: those of
  // LayerWalk::Create.
  static Result<WeightMaker> Create(const SourceTensors& source, const Recipe& recipe,
                                    std::map<std::string, const FormatRow*> formats, MakerInput input, ThreadPool& pool,
                                    const ProgressFn& progress);

  // The tensor of this name; layers are asked for in ascending order, each of their names once. A stem that no
  // statistics belong to (embedding, head) is made by `mse` where the method cannot do without. Errors: kNumerical (NaN
  // in weights or activations), kInterrupted, and those of the method and of loading.
  Result<EncodedMatrix> Make(const std::string& name);

  // The work is stored elsewhere: removes the layers stored for a resumed run.
  void Done();

 private:
  // A tensor of a layer.
  struct Place {
    std::size_t layer = 0;
    std::vector<std::vector<float>> BlockTensors::*kind = nullptr;
    std::size_t index = 0;  // in the block's vectors or matrices
    std::size_t input = 0;  // of the part that it is made with; vectors belong to the first
    std::string tensor;     // in the source
    std::vector<float>& In(BlockTensors& tensors) const { return (tensors.*kind)[index]; }
    const FormatRow*& In(BlockFormats& formats) const {
      return kind == &BlockTensors::vectors    ? formats.vectors[index]
             : kind == &BlockTensors::matrices ? formats.matrices[index]
                                               : formats.biases[index];
    }
  };
  WeightMaker(const SourceTensors& source, const Recipe& recipe, MakerInput input, ThreadPool& pool,
              const ProgressFn& progress);
  void ListPlaces();
  // Whether all tensors of a layer come out of one step.
  bool WholeLayers() const { return walk_.has_value() || recipe_->scale_channels; }
  bool Kept(const std::string& name) const;
  // gram: X^T X of the statistics on the device, or null.
  Result<EncodedMatrix> Quantize(const std::string& stem, const std::vector<float>& values,
                                 const InputStatistics* statistics, const Buffer* gram);
  Result<EncodedMatrix> MakeAlone(const std::string& name);
  Status CheckLayer(std::size_t layer, const BlockTensors& tensors) const;
  Result<BlockTensors> Scale(std::size_t layer, BlockStatistics& statistics);
  Result<EncodedMatrix> MakeTensor(const std::string& name, const Place& place, const std::vector<float>& values,
                                   const InputStatistics& statistics, const Buffer* gram);
  Result<EncodedLayer> MakeScaled(std::size_t layer);
  Result<EncodedLayer> MakeByParts(std::size_t layer);
  Result<std::optional<EncodedLayer>> FindMade(std::size_t layer) const;
  Status WalkTo(std::size_t layer);

  const SourceTensors* source_;
  const Recipe* recipe_;
  MakerInput input_;
  ThreadPool* pool_;
  const ProgressFn* progress_;
  std::map<std::string, const FormatRow*> formats_;
  std::map<std::string, Place> places_;  // of the names in layers
  std::optional<LayerWalk> walk_;
  std::size_t next_ = 0;       // layer to be made
  std::vector<float> values_;  // of the tensor at hand
  EncodedLayer layer_;         // the one before
};

}  // namespace marlin
