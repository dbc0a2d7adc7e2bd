#include "bench/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace marlin {
namespace {

constexpr std::string_view kPage = "page";
constexpr std::string_view kAll = "all";

// Models whose layers can be timed without their files.
struct KnownModel {
  std::string_view name;
  std::size_t hidden_size, heads, kv_heads, head_dim, intermediate_size;
};
constexpr KnownModel kKnownModels[] = {
    {"llama3-8b", 4096, 32, 8, 128, 14336},
    {"qwen3-4b", 2560, 32, 8, 128, 9728},
    {"smollm2-135m", 576, 9, 3, 64, 1536},
};

void AddOnce(std::vector<GemmShape>& shapes, const GemmShape& shape) {
  const auto same = [&](const GemmShape& s) { return s.SameProduct(shape); };
  if (std::none_of(shapes.begin(), shapes.end(), same)) shapes.push_back(shape);
}

std::vector<GemmShape> GpuLayers() {
  const std::string set(kGpuShapes);
  return {{set, 1, 4096, 4096}, {set, 1, 14336, 4096}, {set, 1, 4096, 14336},
          {set, 1, 8192, 8192}, {set, 1, 28672, 8192}, {set, 1, 8192, 28672}};
}

// Layer by layer; m, n and k of `layers` count only as far as they name a layer.
std::vector<GemmShape> AtTokens(std::span<const GemmShape> layers, std::span<const std::size_t> tokens) {
  std::vector<GemmShape> shapes;
  for (const GemmShape& layer : layers) {
    for (const std::size_t m : tokens) AddOnce(shapes, {layer.set, m, layer.n, layer.k});
  }
  return shapes;
}

// The products of a block: q, k and v, o, gate and up, down.
std::vector<GemmShape> LinearLayers(const KnownModel& m) {
  const std::size_t q = m.heads * m.head_dim;
  const std::size_t kv = m.kv_heads * m.head_dim;
  std::vector<GemmShape> layers;
  const auto add = [&](std::size_t n, std::size_t k) { AddOnce(layers, {std::string(m.name), 1, n, k}); };
  add(q, m.hidden_size);
  add(kv, m.hidden_size);
  add(m.hidden_size, q);
  add(m.intermediate_size, m.hidden_size);
  add(m.hidden_size, m.intermediate_size);
  return layers;
}

std::vector<GemmShape> LinearLayers(const Description& description) {
  std::vector<GemmShape> layers;
  for (const Block& block : description.blocks) {
    for (const Matrix& matrix : block.matrices) AddOnce(layers, {"model", 1, matrix.rows, matrix.cols});
  }
  return layers;
}

std::vector<std::string_view> SetNames() {
  std::vector<std::string_view> names = {kPage, kGpuShapes};
  for (const KnownModel& model : kKnownModels) names.push_back(model.name);
  return names;
}

std::vector<GemmShape> ShapesOfSet(std::string_view name, std::span<const std::size_t> tokens) {
  if (name == kGpuShapes) return AtTokens(GpuLayers(), tokens.empty() ? kGpuTokens : tokens);
  const auto* model = std::find_if(std::begin(kKnownModels), std::end(kKnownModels),
                                   [&](const KnownModel& known) { return known.name == name; });
  if (model == std::end(kKnownModels)) return tokens.empty() ? PageShapes() : AtTokens(PageShapes(), tokens);
  return AtTokens(LinearLayers(*model), tokens.empty() ? kModelTokens : tokens);
}

}  // namespace

std::vector<GemmShape> PageShapes() {
  return {{"page", 1, 4096, 4096},  {"page", 1, 4096, 14336},  {"page", 1, 14336, 4096},
          {"page", 32, 4096, 4096}, {"page", 32, 4096, 14336}, {"page", 128, 4096, 4096}};
}

std::vector<GemmShape> ModelShapes(const Description& description) {
  std::vector<GemmShape> shapes;
  for (const std::size_t m : {std::size_t{1}, std::size_t{512}}) {
    for (const GemmShape& layer : LinearLayers(description)) shapes.push_back({layer.set, m, layer.n, layer.k});
  }
  return shapes;
}

std::vector<GemmShape> ModelShapes(const Description& description, std::span<const std::size_t> tokens) {
  return AtTokens(LinearLayers(description), tokens.empty() ? kModelTokens : tokens);
}

std::vector<std::vector<GemmShape>> ByLayer(std::span<const GemmShape> shapes) {
  std::vector<std::vector<GemmShape>> layers;
  for (const GemmShape& shape : shapes) {
    const auto layer = std::find_if(layers.begin(), layers.end(), [&](const std::vector<GemmShape>& other) {
      return other[0].set == shape.set && other[0].n == shape.n && other[0].k == shape.k;
    });
    if (layer == layers.end()) {
      layers.push_back({shape});
    } else {
      layer->push_back(shape);
    }
  }
  return layers;
}

std::string ShapeSetNames() { return fmt::format("{}, {}", fmt::join(SetNames(), ", "), kAll); }

Result<std::vector<GemmShape>> NamedShapes(std::span<const std::string> names, std::span<const std::size_t> tokens) {
  std::vector<std::string_view> wanted;
  const std::vector<std::string_view> known = SetNames();
  for (const std::string& name : names) {
    if (name == kAll) {
      std::ranges::copy_if(known, std::back_inserter(wanted), [](std::string_view set) { return set != kGpuShapes; });
    } else if (std::find(known.begin(), known.end(), name) != known.end()) {
      wanted.push_back(name);
    } else {
      return Error{ErrorCode::kUsage,
                   fmt::format("no set of shapes is called \"{}\"; want one of: {}", name, ShapeSetNames())};
    }
  }
  std::vector<GemmShape> shapes;
  for (const std::string_view name : wanted) {
    for (const GemmShape& shape : ShapesOfSet(name, tokens)) AddOnce(shapes, shape);
  }
  return shapes;
}

}  // namespace marlin
