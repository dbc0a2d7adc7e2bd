#include "quantize/weight_maker.h"

#include <fmt/format.h>

#include "base/check.h"
#include "model/weights.h"

namespace marlin {

WeightMaker::WeightMaker(const Checkpoint& checkpoint, const ModelConfig& config, const Method& method,
                         MakerInput input, ThreadPool& pool, const ProgressFn& progress)
    : checkpoint_(&checkpoint),
      config_(&config),
      method_(&method),
      input_(std::move(input)),
      pool_(&pool),
      progress_(&progress) {}

Result<WeightMaker> WeightMaker::Create(const Checkpoint& checkpoint, const ModelConfig& config, const Method& method,
                                        std::map<std::string, const FormatRow*> formats, MakerInput input,
                                        ThreadPool& pool, const ProgressFn& progress) {
  WeightMaker maker(checkpoint, config, method, std::move(input), pool, progress);
  maker.formats_ = std::move(formats);
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    for (std::size_t s = 0; s < kSlots; ++s) {
      const auto slot = static_cast<Slot>(s);
      if (maker.formats_.contains(LinearStem(layer, slot))) maker.places_[LinearStem(layer, slot)] = {layer, slot};
    }
  }
  if (maker.input_.calibration != nullptr) {
    auto walk = LayerWalk::Create(checkpoint, config, *maker.input_.backend, *maker.input_.calibration);
    if (!walk) return walk.error();
    maker.walk_ = std::move(*walk);
  }
  return maker;
}

// The 16-bit values that a quantized weight stands for, in fp32.
Result<std::vector<float>> WeightMaker::Values(const Tensor& tensor) {
  const auto plain = EncodePlain(tensor, Precision::kSixteenBit, *pool_);
  if (!plain) return Error{plain.error().code, checkpoint_->path.string() + ": " + plain.error().message};
  std::vector<float> values(plain->rows * plain->cols);
  pool_->Split(plain->rows, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin; r < end; ++r) {
      DecodeRow(plain->view(), r, std::span(values).subspan(r * plain->cols, plain->cols));
    }
  });
  return values;
}

Result<EncodedMatrix> WeightMaker::Run(const std::string& stem, const InputStatistics* statistics) {
  const Tensor* tensor = checkpoint_->Find(stem + ".weight");
  MARLIN_CHECK(tensor != nullptr, "the plan holds what the checkpoint has");
  const auto values = Values(*tensor);
  if (!values) return values.error();
  const Method* method = method_;
  if (statistics == nullptr && method->needs == MethodNeeds::kGram && !places_.contains(stem)) {
    method = *ParseMethod("mse");
  }
  auto matrix = method->run(*formats_.at(stem), {values->data(), tensor->rows(), tensor->cols()}, statistics, *pool_);
  if (!matrix) return Error{matrix.error().code, stem + ": " + matrix.error().message};
  return matrix;
}

Result<EncodedLayer> WeightMaker::MakeLayer(std::size_t layer) {
  const auto statistics = walk_->Observe(method_->needs == MethodNeeds::kGram, *pool_, *progress_);
  if (!statistics) return statistics.error();
  EncodedLayer made;
  for (const auto& [stem, place] : places_) {
    if (place.layer != layer) continue;
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    auto matrix = Run(stem, &(*statistics)[InputIndex(place.slot)]);
    if (!matrix) return matrix.error();
    made.emplace(place.slot, std::move(*matrix));
  }
  if (input_.store) {
    if (auto status = input_.store->Save(layer, made); !status) return status.error();
  }
  return made;
}

// Makes, or finds made, all layers up to this one.
Status WeightMaker::WalkTo(std::size_t layer) {
  while (walk_->next() <= layer) {
    const std::size_t next = walk_->next();
    std::map<Slot, const FormatRow*> formats;
    for (const auto& [stem, place] : places_) {
      if (place.layer == next) formats[place.slot] = formats_.at(stem);
    }
    auto kept = input_.store ? input_.store->Load(next, *config_, formats) : std::nullopt;
    if (kept) {
      layer_ = std::move(*kept);
    } else {
      auto made = MakeLayer(next);
      if (!made) return made.error();
      layer_ = std::move(*made);
    }
    std::vector<const EncodedMatrix*> matrices(kSlots, nullptr);
    for (const auto& [slot, matrix] : layer_) matrices[slot] = &matrix;
    if (auto status = walk_->Advance(matrices, *progress_); !status) return status;
  }
  return {};
}

Result<EncodedMatrix> WeightMaker::Make(const std::string& stem) {
  const auto place = places_.find(stem);
  if (place == places_.end()) return Run(stem, nullptr);
  if (!walk_) {
    const ModelStatistics* all = input_.statistics;
    return Run(stem, all == nullptr ? nullptr : &all->layers[place->second.layer][InputIndex(place->second.slot)]);
  }
  if (auto status = WalkTo(place->second.layer); !status) return status.error();
  MARLIN_CHECK(walk_->next() == place->second.layer + 1, "layers are asked for in ascending order");
  auto node = layer_.extract(place->second.slot);
  MARLIN_CHECK(!node.empty(), "each stem once");
  return std::move(node.mapped());
}

void WeightMaker::Done() {
  if (input_.store) input_.store->Remove();
}

}  // namespace marlin
