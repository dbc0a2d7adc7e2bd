#include "quantize/layer_walk.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "model/sizes.h"

namespace marlin {
std::uint64_t LayerWalk::Bytes(const Description& description, std::size_t windows, std::size_t ctx, bool gram) {
  const std::uint64_t hidden =
      std::uint64_t{windows} * ctx * (description.hidden_size + WidestBetween(description)) * sizeof(float);
  // One layer as it runs and one as it is changed, both in fp32 at most, the quantized layer; what the runner keeps.
  return hidden + LargestBlock(description) * 9 + LargestBlockStatistics(description, gram) +
         BlockRunner::Bytes(description, ctx, windows);
}

Result<LayerWalk> LayerWalk::Create(const SourceTensors& source, Backend& backend, const CalibrationWindows& windows,
                                    Between between) {
  const Description& description = source.description();
  if (auto status = CheckContext(description, windows.ctx); !status) return status.error();
  if (auto status = CheckTokens(windows.stream, description.vocab_size); !status) return status.error();
  LayerWalk walk;
  walk.source_ = &source;
  walk.description_ = &description;
  walk.backend_ = &backend;
  walk.windows_ = &windows;
  walk.between_parts_ = between;
  walk.together_ = SequencesTogether(backend, windows.ctx, windows.begins.size());
  if (auto status = BlockRunner::Create(description, backend, windows.ctx, windows.begins.size(), walk.together_)
                        .MoveTo(walk.runner_);
      !status) {
    return status.error();
  }
  const auto embedding = source.LoadEmbedding(backend);
  if (!embedding) return embedding.error();
  const auto allocated =
      backend.AllocateAll({{&walk.hidden_, windows.begins.size() * windows.ctx * description.hidden_size}});
  if (!allocated) return allocated.error();
  for (std::size_t w = 0; w < windows.begins.size(); ++w) {
    walk.runner_->Embed(*embedding, windows.stream.Window(windows.begins[w], windows.ctx), walk.Sequence({w}));
  }
  if (auto status = backend.Synchronize(); !status) return status.error();
  return walk;
}

LayerWalk::Windows LayerWalk::From(std::size_t first) const {
  return {first, std::min(together_, windows_->begins.size() - first)};
}

DeviceTensor LayerWalk::Hidden(Windows windows) const {
  const std::size_t ctx = windows_->ctx;
  return View(hidden_, windows_->begins.size() * ctx, description_->hidden_size)
      .Rows(windows.first * ctx, windows.count * ctx);
}

Status LayerWalk::Gather(StatisticsGatherer& gatherer, Windows windows, std::size_t input,
                         const DeviceTensor& x) const {
  const Block& block = description_->blocks[next_];
  return gatherer.Add(x, {windows.first, block.FirstOf(block.inputs[input]).name}, windows.count);
}

// Memory between the parts of a layer, where they are kept.
Status LayerWalk::ReserveBetween() {
  if (between_ != nullptr || RunsAgain()) return {};
  const std::size_t rows = windows_->begins.size() * windows_->ctx;
  return backend_->AllocateAll({{&between_, rows * WidestBetween(*description_)}});
}

Status LayerWalk::Load() {
  MARLIN_CHECK(next_ < description_->blocks.size(), "no layer after the last");
  if (layer_) return {};
  return source_->LoadBlock(*backend_, next_).MoveTo(layer_);
}

void LayerWalk::Report(const ProgressFn& progress, Pass pass, Windows at) const {
  if (!progress) return;
  const std::size_t windows = windows_->begins.size();
  const char* const kept = pass.count == 1 ? ", made before" : "";
  // Every pass runs every window.
  const std::string unit =
      pass.count == 1 ? "windows" : fmt::format("window runs ({} passes over {})", pass.count, windows);
  progress({fmt::format("layer {} of {}{}", next_ + 1, description_->blocks.size(), kept),
            pass.index * windows + at.first + at.count, pass.count * windows, unit, ""});
}

Result<BlockStatistics> LayerWalk::Observe(bool gram, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status.error();
  observed_ = true;
  const Block& block = description_->blocks[next_];
  std::vector<StatisticsGatherer> gatherers;
  for (std::size_t i = 0; i < block.inputs.size(); ++i) gatherers.emplace_back(*backend_, gram);
  if (copy_ == nullptr) {
    const auto allocated = backend_->AllocateAll({{&copy_, together_ * windows_->ctx * description_->hidden_size}});
    if (!allocated) return allocated.error();
  }
  for (Windows w = From(0); w.count > 0; w = From(w.first + w.count)) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const DeviceTensor copy = View(copy_, w.count * windows_->ctx, description_->hidden_size);
    backend_->Copy(Hidden(w), copy);
    Status status;
    const auto add = [&](std::size_t input, const DeviceTensor& x) {
      if (status.ok()) status = Gather(gatherers[input], w, input, x);
    };
    runner_->Run(Loaded(), {w.first, copy}, add);
    if (!status) return status.error();
    Report(progress, {0, 2}, w);
  }
  if (auto status = backend_->Synchronize(); !status) return status.error();
  return FinishAll(gatherers);
}

// What the layer at hand will be once it is stored.
Status LayerWalk::Replace(const EncodedLayer& made) {
  const auto find = [&](const std::string& name) {
    const auto found = made.find(name);
    return found == made.end() ? nullptr : &found->second;
  };
  const auto upload = [&](const EncodedMatrix* vector, float added, const std::unique_ptr<Buffer>& to) {
    if (vector == nullptr) return;
    std::vector<float> values(vector->cols);
    DecodeRow(vector->view(), 0, values);
    for (float& value : values) value += added;
    backend_->Upload(values, View(to, 1, values.size()));
  };
  const Block& block = description_->blocks[next_];
  for (std::size_t v = 0; v < block.vectors.size(); ++v) {
    upload(find(description_->NameOf(block.vectors[v].source)), block.AddedTo(v), layer_->vectors[v]);
  }
  for (std::size_t m = 0; m < block.matrices.size(); ++m) {
    const Matrix& wanted = block.matrices[m];
    Linear& linear = layer_->matrices[m];
    if (wanted.bias) upload(find(description_->NameOf(*wanted.bias)), 0, linear.bias);
    const EncodedMatrix* quantized = find(wanted.name);
    const EncodedMatrix* matrix = quantized != nullptr ? quantized : find(description_->NameOf(wanted.source));
    if (matrix == nullptr) continue;
    if (auto status = backend_->Pack(matrix->view()).MoveTo(linear.weight); !status) return status;
  }
  return {};
}

Status LayerWalk::Advance(const EncodedLayer& made, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status;
  if (auto status = Replace(made); !status) return status;
  // The outputs of the last layer are not an input.
  const bool is_last = next_ + 1 == description_->blocks.size();
  for (Windows w = From(0); !is_last && w.count > 0; w = From(w.first + w.count)) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    runner_->Run(Loaded(), Sequence(w));
    Report(progress, observed_ ? Pass{1, 2} : Pass{}, w);
  }
  return Finish();
}

// The layer's work ends before its weights go.
Status LayerWalk::Finish() {
  if (auto status = backend_->Synchronize(); !status) return status;
  layer_.reset();
  observed_ = false;
  ++next_;
  return {};
}

Midway LayerWalk::At(std::size_t input, Windows windows) const {
  const Block& block = description_->blocks[next_];
  const std::size_t cols = block.FirstOf(block.inputs[BetweenOf(input)]).cols, ctx = windows_->ctx;
  const DeviceTensor between = View(between_, windows_->begins.size() * ctx, cols);
  return {windows.first, Hidden(windows), between.Rows(windows.first * ctx, windows.count * ctx)};
}

bool LayerWalk::RunsAgain() const {
  return between_parts_ == Between::kRunAgain || !FitsMidway(description_->blocks[next_]);
}

// Every part is looked at and then run.
Result<ObservedInput> LayerWalk::ObserveInput(std::size_t input, bool gram, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status.error();
  if (auto status = ReserveBetween(); !status) return status.error();
  StatisticsGatherer gatherer(*backend_, gram);
  for (Windows w = From(0); w.count > 0; w = From(w.first + w.count)) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    Status status;
    const auto add = [&](std::size_t, const DeviceTensor& x) { status = Gather(gatherer, w, input, x); };
    if (RunsAgain()) {
      runner_->RunToInput(Loaded(), input, Sequence(w), add);
    } else {
      runner_->ShowInput(Loaded(), input, At(input, w), add);
    }
    if (!status) return status.error();
    Report(progress, {2 * input, 2 * description_->blocks[next_].inputs.size()}, w);
  }
  if (backend_->dense_algebra() != nullptr) {
    return ObservedInput{.statistics = gatherer.moments(), .gram = gatherer.TakeGram()};
  }
  auto all = gatherer.Read();
  if (!all) return all.error();
  return ObservedInput{.statistics = *std::move(all), .gram = nullptr};
}

Status LayerWalk::AdvancePart(std::size_t input, const EncodedLayer& made, const ProgressFn& progress) {
  if (auto status = Replace(made); !status) return status;
  const std::size_t inputs = description_->blocks[next_].inputs.size();
  const bool ends = input + 1 == inputs;
  if (RunsAgain() && !ends) return {};
  const bool is_last = ends && next_ + 1 == description_->blocks.size();
  for (Windows w = From(0); !is_last && w.count > 0; w = From(w.first + w.count)) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    if (RunsAgain()) {
      runner_->Run(Loaded(), Sequence(w));
    } else {
      runner_->RunPart(Loaded(), input, At(input, w));
    }
    Report(progress, {2 * input + 1, 2 * inputs}, w);
  }
  return ends ? Finish() : backend_->Synchronize();
}

}  // namespace marlin
