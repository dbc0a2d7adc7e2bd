#include "quantize/layer_walk.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "io/quantized_layout.h"

namespace marlin {
namespace {

// What a sequence leaves between two parts of a layer.
std::size_t WidestBetween(const ModelConfig& config) { return std::max(config.q_size(), config.intermediate_size); }

// Every part is looked at and then run.
constexpr std::size_t kPartPasses = 2 * std::size(kInputs);

}  // namespace

Status AddInput(InputStatistics& statistics, const InputPlace& place, MatrixView<const float> x, bool gram,
                ThreadPool& pool) {
  const Status status = Accumulate(statistics, x, pool, gram);
  if (status.ok()) return status;
  return Error{status.error().code, fmt::format("calibration window {}, {}: {}", place.window,
                                                LinearStem(place.layer, place.first), status.error().message)};
}

std::uint64_t LayerWalk::Bytes(const ModelConfig& config, std::size_t windows, std::size_t ctx, bool gram) {
  std::uint64_t layer_parameters = 0;
  for (const LinearSlot& slot : kLinearSlots) layer_parameters += slot.rows(config) * slot.cols(config);
  const std::uint64_t hidden =
      std::uint64_t{windows} * ctx * (config.hidden_size + WidestBetween(config)) * sizeof(float);
  // One layer as it runs and one as it is changed, both in fp32 at most, the quantized layer; LayerScratch for one
  // window.
  return hidden + layer_parameters * 9 + StatisticsBytes(config, gram) / config.layers +
         LayerScratch::Floats(config, ctx) * sizeof(float);
}

Result<LayerWalk> LayerWalk::Create(const SourceTensors& source, Backend& backend, const CalibrationWindows& windows) {
  const ModelConfig& config = source.config();
  if (auto status = CheckContext(config, windows.ctx); !status) return status.error();
  if (auto status = CheckTokens(windows.stream, config.vocab_size); !status) return status.error();
  LayerWalk walk;
  walk.source_ = &source;
  walk.config_ = &config;
  walk.backend_ = &backend;
  walk.windows_ = &windows;
  auto runner = LayerRunner::Create(config, backend, windows.ctx);
  if (!runner) return runner.error();
  walk.runner_ = std::move(*runner);
  const auto embedding = source.LoadEmbedding(backend);
  if (!embedding) return embedding.error();
  auto rows = backend.Allocate(windows.ctx * config.hidden_size);
  if (!rows) return rows.error();
  walk.hidden_.resize(windows.begins.size() * windows.ctx * config.hidden_size);
  for (std::size_t w = 0; w < windows.begins.size(); ++w) {
    const MatrixView<float> out((*rows)->data(), windows.ctx, config.hidden_size);
    backend.Embed(**embedding, windows.stream.Window(windows.begins[w], windows.ctx), out);
    const auto hidden = walk.Hidden(w);
    backend.Download((*rows)->data(), {hidden.data, hidden.rows * hidden.cols});
  }
  return walk;
}

MatrixView<float> LayerWalk::Hidden(std::size_t window) {
  const std::size_t floats = windows_->ctx * config_->hidden_size;
  return {hidden_.data() + window * floats, windows_->ctx, config_->hidden_size};
}

Status LayerWalk::Load() {
  MARLIN_CHECK(next_ < config_->layers, "no layer after the last");
  if (layer_) return {};
  auto layer = source_->LoadLayer(*backend_, next_);
  if (!layer) return layer.error();
  layer_ = std::move(*layer);
  return {};
}

void LayerWalk::Report(const ProgressFn& progress, Pass pass, std::size_t window) const {
  if (!progress) return;
  const std::size_t windows = windows_->begins.size();
  const char* const kept = pass.count == 1 ? ", made before" : "";
  progress({fmt::format("layer {} of {}{}", next_ + 1, config_->layers, kept), pass.index * windows + window + 1,
            pass.count * windows, "windows", ""});
}

Result<LayerStatistics> LayerWalk::Observe(bool gram, ThreadPool& pool, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status.error();
  observed_ = true;
  LayerStatistics statistics;
  std::vector<float> copy(windows_->ctx * config_->hidden_size);
  for (std::size_t w = 0; w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const auto hidden = Hidden(w);
    std::copy_n(hidden.data, copy.size(), copy.data());
    Status status;
    runner_->Run(*layer_, {copy.data(), hidden.rows, hidden.cols}, [&](Slot first, MatrixView<const float> x) {
      if (status.ok()) status = AddInput(statistics[InputIndex(first)], {w, next_, first}, x, gram, pool);
    });
    if (!status) return status.error();
    Report(progress, {0, 2}, w);
  }
  return statistics;
}

// What the layer at hand will be once it is stored.
Status LayerWalk::Replace(const EncodedLayer& made) {
  const auto find = [&](const std::string& name) {
    const auto found = made.find(name);
    return found == made.end() ? nullptr : &found->second;
  };
  const auto upload = [&](const EncodedMatrix* vector, Buffer& to) {
    if (vector == nullptr) return;
    std::vector<float> values(vector->cols);
    DecodeRow(vector->view(), 0, values);
    backend_->Upload(values, to.data());
  };
  upload(find(NormName(next_, kAttentionNorm)), *layer_->attention_norm);
  upload(find(NormName(next_, kMlpNorm)), *layer_->mlp_norm);
  for (std::size_t s = 0; s < kSlots; ++s) {
    const std::string stem = LinearStem(next_, static_cast<Slot>(s));
    Linear& linear = layer_->linear[s];
    if (linear.bias) upload(find(stem + ".bias"), *linear.bias);
    const EncodedMatrix* quantized = find(stem);
    const EncodedMatrix* matrix = quantized != nullptr ? quantized : find(WeightName(stem));
    if (matrix == nullptr) continue;
    auto weight = backend_->Pack(matrix->view());
    if (!weight) return weight.error();
    linear.weight = std::move(*weight);
  }
  return {};
}

Status LayerWalk::Advance(const EncodedLayer& made, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status;
  if (auto status = Replace(made); !status) return status;
  // The outputs of the last layer are not an input.
  for (std::size_t w = 0; next_ + 1 < config_->layers && w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    runner_->Run(*layer_, Hidden(w));
    Report(progress, observed_ ? Pass{1, 2} : Pass{}, w);
  }
  Finish();
  return {};
}

void LayerWalk::Finish() {
  layer_.reset();
  observed_ = false;
  ++next_;
}

Midway LayerWalk::At(Slot first, std::size_t window) {
  const bool attention = first == kQ || first == kO;
  const std::size_t cols = attention ? config_->q_size() : config_->intermediate_size;
  float* const between = between_.data() + window * windows_->ctx * WidestBetween(*config_);
  return {Hidden(window), {between, windows_->ctx, cols}};
}

Result<InputStatistics> LayerWalk::ObserveInput(Slot first, bool gram, ThreadPool& pool, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status.error();
  between_.resize(windows_->begins.size() * windows_->ctx * WidestBetween(*config_));
  InputStatistics statistics;
  for (std::size_t w = 0; w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    Status status;
    runner_->ShowInput(*layer_, first, At(first, w), [&](Slot, MatrixView<const float> x) {
      status = AddInput(statistics, {w, next_, first}, x, gram, pool);
    });
    if (!status) return status.error();
    Report(progress, {2 * InputIndex(first), kPartPasses}, w);
  }
  return statistics;
}

Status LayerWalk::AdvancePart(Slot first, const EncodedLayer& made, const ProgressFn& progress) {
  if (auto status = Replace(made); !status) return status;
  const bool ends = first == kDown;
  for (std::size_t w = 0; !(ends && next_ + 1 == config_->layers) && w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    runner_->RunPart(*layer_, first, At(first, w));
    Report(progress, {2 * InputIndex(first) + 1, kPartPasses}, w);
  }
  if (ends) Finish();
  return {};
}

}  // namespace marlin
