// Processes a model layer by layer over calibration windows. The input of each layer is the output of the quantized
// layers before it, so that later layers compensate for the errors of earlier ones. In the device's memory are the
// hidden states of all windows, one layer, its statistics and, for work part by part, the widest activations, but never
// the whole model.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "model/block_runner.h"
#include "quantize/layer_store.h"
#include "quantize/model_statistics.h"
#include "quantize/source_tensors.h"
#include "text/token_stream.h"

namespace marlin {

// Calibration text as a model sees it.
struct CalibrationWindows {
  TokenStream stream;
  std::vector<std::size_t> begins;  // SpreadWindows
  std::size_t ctx = 0;
  std::string text_name, text_sha256;
};

// How a walk part by part comes to the next input of a block: it keeps the activations between the parts, or it runs
// the block again from its hidden state. The bits are the same. The second takes less memory and more time.
enum class Between { kKept, kRunAgain };

// An input of the layer at hand.
struct ObservedInput {
  InputStatistics statistics;    // without X^T X where it is on the device
  std::unique_ptr<Buffer> gram;  // X^T X [k, k] where it is on the device, or null
};

class LayerWalk {
 public:
  // Everything given outlives the walk. Blocks that do not fit Midway are always run again. Errors: kInput (a token
  // beyond the vocabulary), kResource, and those of loading.
  static Result<LayerWalk> Create(const SourceTensors& source, Backend& backend, const CalibrationWindows& windows,
                                  Between between = Between::kKept);

  // Peak bytes of a walk beside what the methods need: hidden states, one layer, its statistics.
  static std::uint64_t Bytes(const Description& description, std::size_t windows, std::size_t ctx, bool gram);

  // The layer that is next: 0, 1, ...
  std::size_t next() const { return next_; }

  // Statistics of the inputs of the next layer. Errors: kNumerical (NaN), kInterrupted, and those of loading.
  Result<BlockStatistics> Observe(bool gram, const ProgressFn& progress);

  // The next layer as it will be stored; what `made` does not hold stays as it is. The one after it becomes next.
  Status Advance(const EncodedLayer& made, const ProgressFn& progress);

  // The same part by part, in the order of the inputs, so that the input of every part is the output of the quantized
  // parts before it: first the statistics of its input, then the part as it will be stored. After the last the layer
  // after it becomes next. Both give the same bits and may be mixed, layer by layer. X^T X stays on a device that has a
  // dense algebra.
  Result<ObservedInput> ObserveInput(std::size_t input, bool gram, const ProgressFn& progress);
  Status AdvancePart(std::size_t input, const EncodedLayer& made, const ProgressFn& progress);

 private:
  LayerWalk() = default;
  Status Load();
  Status Replace(const EncodedLayer& made);
  // Some windows that run together, from one on.
  struct Windows {
    std::size_t first = 0, count = 1;
  };
  // The next ones; none after the last.
  Windows From(std::size_t first) const;
  DeviceTensor Hidden(Windows windows) const;
  SequenceState Sequence(Windows windows) const { return {windows.first, Hidden(windows)}; }
  Midway At(std::size_t input, Windows windows) const;
  // Adds the rows of x, an input of these windows, window by window.
  Status Gather(StatisticsGatherer& gatherer, Windows windows, std::size_t input, const DeviceTensor& x) const;
  Status ReserveBetween();
  bool RunsAgain() const;
  Status Finish();
  // Number of the pass, if a layer makes several passes over the windows.
  struct Pass {
    std::size_t index = 0, count = 1;
  };
  void Report(const ProgressFn& progress, Pass pass, Windows windows) const;

  const SourceTensors* source_ = nullptr;
  LoadedBlock Loaded() const { return {description_->blocks[next_], *layer_}; }
  const Description* description_ = nullptr;
  Backend* backend_ = nullptr;
  const CalibrationWindows* windows_ = nullptr;
  Between between_parts_ = Between::kKept;
  std::size_t together_ = 1;  // windows that run together
  std::size_t next_ = 0;
  std::optional<LoadedParts> layer_;  // the next one, once it was needed
  bool observed_ = false;             // the next layer, whole
  std::optional<BlockRunner> runner_;
  std::unique_ptr<Buffer> hidden_;   // [windows][ctx][hidden_size]
  std::unique_ptr<Buffer> between_;  // [windows][ctx][WidestBetween], once a layer went part by part
  std::unique_ptr<Buffer> copy_;     // [together][ctx][hidden_size], once a layer was observed whole
};

}  // namespace marlin
