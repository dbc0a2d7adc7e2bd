// Shapes for kernel timings: numbers of tokens times linear layers.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/description.h"

namespace marlin {

struct GemmShape {
  // "page": the shapes of the report page's specification; "gpu"; "model": a model's own; "llama3-8b", ...
  std::string set;
  std::size_t m, n, k;
  bool SameProduct(const GemmShape& other) const { return m == other.m && n == other.n && k == other.k; }
};

// (M, N, K) of the specification: (1,4096,4096) (1,4096,14336) (1,14336,4096) (32,4096,4096) (32,4096,14336)
// (128,4096,4096).
std::vector<GemmShape> PageShapes();

// Layers that fill a GPU, (N, K): (4096,4096) (14336,4096) (4096,14336) (8192,8192) (28672,8192) (8192,28672).
inline constexpr std::string_view kGpuShapes = "gpu";
inline constexpr std::size_t kGpuTokens[] = {1, 8, 16, 32, 64, 128, 512, 2048, 4096};

// The distinct linear layers of a model, each at m = 1 and at m = 512.
std::vector<GemmShape> ModelShapes(const Description& description);

// From a single token over small batches to a prompt; 512 is the prefill of all other measurements.
inline constexpr std::size_t kModelTokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};

// The distinct linear layers of a model, one after the other, each at every number of tokens (kModelTokens when empty).
std::vector<GemmShape> ModelShapes(const Description& description, std::span<const std::size_t> tokens);

// The shapes of each layer (set, n and k) together, in the order in which layers come first.
std::vector<std::vector<GemmShape>> ByLayer(std::span<const GemmShape> shapes);

// "page, gpu, llama3-8b, ..., all": what NamedShapes takes. all: but gpu, which keeps a processor busy for hours.
std::string ShapeSetNames();

// The sets by name, each product once. tokens empty = the page's own for the page, kGpuTokens for gpu, kModelTokens for
// layers of models.
// Errors: kUsage (unknown name: names what there is).
Result<std::vector<GemmShape>> NamedShapes(std::span<const std::string> names, std::span<const std::size_t> tokens);

}  // namespace marlin
