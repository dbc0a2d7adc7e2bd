#include "quantize/weight_maker.h"

#include <fmt/format.h>

#include "base/check.h"
#include "files/quantized_layout.h"

namespace marlin {

WeightMaker::WeightMaker(const SourceTensors& source, const Recipe& recipe, MakerInput input, ThreadPool& pool,
                         const ProgressFn& progress)
    : source_(&source), recipe_(&recipe), input_(std::move(input)), pool_(&pool), progress_(&progress) {}

void WeightMaker::ListPlaces() {
  const auto add = [&](const std::string& name, Place place) {
    if (formats_.contains(name)) places_[name] = std::move(place);
  };
  const Description& d = source_->description();
  for (std::size_t layer = 0; layer < d.blocks.size(); ++layer) {
    const Block& block = d.blocks[layer];
    for (std::size_t v = 0; v < block.vectors.size(); ++v) {
      const std::string& name = d.NameOf(block.vectors[v].source);
      add(name, {layer, &BlockTensors::vectors, v, 0, name});
    }
    for (std::size_t m = 0; m < block.matrices.size(); ++m) {
      const Matrix& matrix = block.matrices[m];
      const std::size_t input = block.InputOf(m);
      const std::string& weight = d.NameOf(matrix.source);
      for (const std::string& name : {matrix.name, weight}) {
        add(name, {layer, &BlockTensors::matrices, m, input, weight});
      }
      if (!matrix.bias) continue;
      const std::string& bias = d.NameOf(*matrix.bias);
      add(bias, {layer, &BlockTensors::biases, m, input, bias});
    }
  }
}

Result<WeightMaker> WeightMaker::Create(const SourceTensors& source, const Recipe& recipe,
                                        std::map<std::string, const FormatRow*> formats, MakerInput input,
                                        ThreadPool& pool, const ProgressFn& progress) {
  WeightMaker maker(source, recipe, std::move(input), pool, progress);
  maker.formats_ = std::move(formats);
  maker.ListPlaces();
  if (maker.input_.calibration != nullptr) {
    auto walk = LayerWalk::Create(source, *maker.input_.backend, *maker.input_.calibration);
    if (!walk) return walk.error();
    maker.walk_ = std::move(*walk);
  }
  return maker;
}

Result<EncodedMatrix> WeightMaker::Quantize(const std::string& stem, const std::vector<float>& values,
                                            const InputStatistics* statistics, const Buffer* gram) {
  const Tensor* tensor = source_->checkpoint().Find(WeightName(stem));
  MARLIN_CHECK(tensor != nullptr, "the plan holds what the checkpoint has");
  const Method* method = recipe_->method;
  if (statistics == nullptr && method->needs == MethodNeeds::kGram && !places_.contains(stem)) {
    method = *ParseMethod("mse");
  }
  const std::size_t k = tensor->cols();
  const MethodTools tools(*pool_, input_.backend,
                          gram == nullptr ? DeviceTensor() : DeviceTensor{gram, 0, ElementType::kF32, k, k, k});
  auto matrix = method->run(*formats_.at(stem), {values.data(), tensor->rows(), k}, statistics, tools);
  if (!matrix) return Error{matrix.error().code, stem + ": " + matrix.error().message};
  return matrix;
}

Result<EncodedMatrix> WeightMaker::MakeAlone(const std::string& name) {
  if (!HasGroups(formats_.at(name)->info)) return source_->Plain(name, *formats_.at(name));
  if (auto status = source_->ReadValues(WeightName(name), values_); !status) return status.error();
  const auto place = places_.find(name);
  const bool known = place != places_.end() && input_.statistics != nullptr;
  return Quantize(name, values_, known ? &input_.statistics->blocks[place->second.layer][place->second.input] : nullptr,
                  nullptr);
}

// Whether a tensor is part of what a step makes. Plain tensors are read again where nothing changes them.
bool WeightMaker::Kept(const std::string& name) const {
  return recipe_->scale_channels || source_->rotated() || HasGroups(formats_.at(name)->info);
}

// Checks that the checkpoint had every tensor of the layer.
Status WeightMaker::CheckLayer(std::size_t layer, const BlockTensors& tensors) const {
  const auto missing = [&](const std::string& name) {
    return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", source_->checkpoint().path.string(), name)};
  };
  const Description& d = source_->description();
  const Block& block = d.blocks[layer];
  for (std::size_t v = 0; v < block.vectors.size(); ++v) {
    if (tensors.vectors[v].empty()) return missing(d.NameOf(block.vectors[v].source));
  }
  for (std::size_t m = 0; m < block.matrices.size(); ++m) {
    const Matrix& matrix = block.matrices[m];
    if (tensors.matrices[m].empty()) return missing(d.NameOf(matrix.source));
    if (matrix.bias && tensors.biases[m].empty()) return missing(d.NameOf(*matrix.bias));
  }
  return {};
}

// A layer with its channels scaled, and the statistics with it.
Result<BlockTensors> WeightMaker::Scale(std::size_t layer, BlockStatistics& statistics) {
  const Block& block = source_->description().blocks[layer];
  BlockTensors tensors(block);
  BlockFormats formats(block);
  for (const auto& [name, place] : places_) {
    if (place.layer != layer) continue;
    if (auto status = source_->Values(place.tensor).MoveTo(place.In(tensors)); !status) return status.error();
    place.In(formats) = formats_.at(name);
  }
  if (auto status = CheckLayer(layer, tensors); !status) return status.error();
  const auto status = FoldChannelScaling(block, formats, tensors, statistics, *pool_);
  if (!status) return Error{status.error().code, fmt::format("layer {}: {}", layer, status.error().message)};
  return tensors;
}

// The tensor of one name from its values.
Result<EncodedMatrix> WeightMaker::MakeTensor(const std::string& name, const Place& place,
                                              const std::vector<float>& values, const InputStatistics& statistics,
                                              const Buffer* gram) {
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
  const FormatRow& format = *formats_.at(name);
  if (HasGroups(format.info)) return Quantize(name, values, &statistics, gram);
  const Tensor& tensor = *source_->checkpoint().Find(place.tensor);
  return Encode(format, {values.data(), tensor.rows(), tensor.cols()}, *pool_);
}

// A layer whose channels are scaled: the factors of one part change the parts before it, so all its inputs are looked
// at first.
Result<EncodedLayer> WeightMaker::MakeScaled(std::size_t layer) {
  BlockStatistics statistics;
  if (walk_) {
    auto observed = walk_->Observe(recipe_->method->needs == MethodNeeds::kGram, *progress_);
    if (!observed) return observed.error();
    statistics = std::move(*observed);
  } else {
    statistics = input_.statistics->blocks[layer];
  }
  auto scaled = Scale(layer, statistics);
  if (!scaled) return scaled.error();
  EncodedLayer made;
  for (const auto& [name, place] : places_) {
    if (place.layer != layer) continue;
    auto matrix = MakeTensor(name, place, place.In(*scaled), statistics[place.input], nullptr);
    if (!matrix) return matrix.error();
    made.emplace(name, std::move(*matrix));
  }
  return made;
}

// A layer of the walk part by part, each calibrated on what the quantized parts before it give. The walk has then gone
// through the layer.
Result<EncodedLayer> WeightMaker::MakeByParts(std::size_t layer) {
  EncodedLayer made;
  for (std::size_t input = 0; input < source_->description().blocks[layer].inputs.size(); ++input) {
    const auto observed = walk_->ObserveInput(input, recipe_->method->needs == MethodNeeds::kGram, *progress_);
    if (!observed) return observed.error();
    EncodedLayer part;
    for (const auto& [name, place] : places_) {
      if (place.layer != layer || place.input != input || !Kept(name)) continue;
      if (auto status = source_->ReadValues(place.tensor, values_); !status) return status.error();
      auto matrix = MakeTensor(name, place, values_, observed->statistics, observed->gram.get());
      if (!matrix) return matrix.error();
      part.emplace(name, std::move(*matrix));
    }
    if (auto status = walk_->AdvancePart(input, part, *progress_); !status) return status.error();
    made.merge(part);
  }
  return made;
}

// A layer that an interrupted run kept.
Result<std::optional<EncodedLayer>> WeightMaker::FindMade(std::size_t layer) const {
  if (!input_.store) return std::optional<EncodedLayer>();
  std::map<std::string, MatrixShape> shapes;
  for (const auto& [name, place] : places_) {
    if (place.layer != layer || !Kept(name)) continue;
    const Tensor& tensor = *source_->checkpoint().Find(place.tensor);
    shapes[name] = {formats_.at(name), tensor.rows(), tensor.cols()};
  }
  return input_.store->Load(layer, shapes);
}

// Makes, or finds made, all layers up to this one.
Status WeightMaker::WalkTo(std::size_t layer) {
  for (; next_ <= layer; ++next_) {
    std::optional<EncodedLayer> kept;
    if (auto status = FindMade(next_).MoveTo(kept); !status) return status;
    const bool by_parts = !kept && !recipe_->scale_channels;
    if (kept) {
      layer_ = std::move(*kept);
    } else {
      if (auto status = (by_parts ? MakeByParts(next_) : MakeScaled(next_)).MoveTo(layer_); !status) return status;
      if (input_.store) {
        if (auto status = input_.store->Save(next_, layer_); !status) return status.error();
      }
    }
    if (!walk_ || by_parts) continue;
    if (auto status = walk_->Advance(layer_, *progress_); !status) return status;
  }
  return {};
}

Result<EncodedMatrix> WeightMaker::Make(const std::string& name) {
  const auto place = places_.find(name);
  if (place == places_.end() || !WholeLayers()) return MakeAlone(name);
  if (auto status = WalkTo(place->second.layer); !status) return status.error();
  MARLIN_CHECK(next_ == place->second.layer + 1, "layers are asked for in ascending order");
  if (!Kept(name)) return MakeAlone(name);
  auto node = layer_.extract(name);
  MARLIN_CHECK(!node.empty(), "each name once");
  return std::move(node.mapped());
}

void WeightMaker::Done() {
  if (input_.store) input_.store->Remove();
}

}  // namespace marlin
