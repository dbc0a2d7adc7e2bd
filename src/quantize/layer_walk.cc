#include "quantize/layer_walk.h"

#include <fmt/format.h>

#include "base/check.h"

namespace marlin {

std::uint64_t LayerWalk::Bytes(const ModelConfig& config, std::size_t windows, std::size_t ctx, bool gram) {
  std::uint64_t layer_parameters = 0;
  for (const LinearSlot& slot : kLinearSlots) layer_parameters += slot.rows(config) * slot.cols(config);
  const std::uint64_t hidden = std::uint64_t{windows} * ctx * config.hidden_size * sizeof(float);
  // One layer in 16 bits, one matrix of it in fp32, the quantized layer; LayerScratch for one window.
  return hidden + layer_parameters * 7 + StatisticsBytes(config, gram) / config.layers +
         LayerScratch::Floats(config, ctx) * sizeof(float);
}

Result<LayerWalk> LayerWalk::Create(const Checkpoint& checkpoint, const ModelConfig& config, Backend& backend,
                                    const CalibrationWindows& windows) {
  if (auto status = CheckContext(config, windows.ctx); !status) return status.error();
  if (auto status = CheckTokens(windows.stream, config.vocab_size); !status) return status.error();
  LayerWalk walk;
  walk.checkpoint_ = &checkpoint;
  walk.config_ = &config;
  walk.backend_ = &backend;
  walk.windows_ = &windows;
  auto runner = LayerRunner::Create(config, backend, windows.ctx);
  if (!runner) return runner.error();
  walk.runner_ = std::move(*runner);
  const auto embedding = LoadEmbedding(checkpoint, config, backend, Precision::kSixteenBit);
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
  auto layer = LoadLayer(*checkpoint_, *config_, *backend_, Precision::kSixteenBit, next_);
  if (!layer) return layer.error();
  layer_ = std::move(*layer);
  return {};
}

void LayerWalk::Report(const ProgressFn& progress, const char* stage, std::size_t window) const {
  if (!progress) return;
  progress({fmt::format("layer {} of {}: {}", next_ + 1, config_->layers, stage), window + 1, windows_->begins.size(),
            "windows", ""});
}

Result<LayerStatistics> LayerWalk::Observe(bool gram, ThreadPool& pool, const ProgressFn& progress) {
  if (auto status = Load(); !status) return status.error();
  LayerStatistics statistics;
  std::vector<float> copy(windows_->ctx * config_->hidden_size);
  for (std::size_t w = 0; w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const auto hidden = Hidden(w);
    std::copy_n(hidden.data, copy.size(), copy.data());
    Status status;
    runner_->Run(*layer_, {copy.data(), hidden.rows, hidden.cols}, [&](Slot first, MatrixView<const float> x) {
      if (!status.ok()) return;
      status = Accumulate(statistics[InputIndex(first)], x, pool, gram);
      if (status.ok()) return;
      status = Error{status.error().code,
                     fmt::format("calibration window {}, {}: {}", w, LinearStem(next_, first), status.error().message)};
    });
    if (!status) return status.error();
    Report(progress, "inputs", w);
  }
  return statistics;
}

Status LayerWalk::Advance(std::span<const EncodedMatrix* const> matrices, const ProgressFn& progress) {
  MARLIN_CHECK(matrices.size() == kSlots, "one entry for each slot");
  if (auto status = Load(); !status) return status;
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    if (matrices[slot] == nullptr) continue;
    auto weight = backend_->Pack(matrices[slot]->view());
    if (!weight) return weight.error();
    layer_->linear[slot].weight = std::move(*weight);
  }
  // The outputs of the last layer are nobody's input.
  for (std::size_t w = 0; next_ + 1 < config_->layers && w < windows_->begins.size(); ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    runner_->Run(*layer_, Hidden(w));
    Report(progress, "outputs", w);
  }
  layer_.reset();
  ++next_;
  return {};
}

}  // namespace marlin
