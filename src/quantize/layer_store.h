// Finished layers of an interrupted quantization, stored beside the output folder: one safetensors file per layer, with
// a hash per tensor, the key of the work and the arithmetic that made them. They are removed when the work is done.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// By the names of the plan: quantized matrices under their stems, plain tensors under their whole names.
using EncodedLayer = std::map<std::string, EncodedMatrix>;

struct MatrixShape {
  const FormatRow* format = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
};

class LayerStore {
 public:
  // key: a hash of everything that decides the codes but the arithmetic (Device::arithmetic). Layers that were kept
  // under another key are not used.
  LayerStore(std::filesystem::path folder, std::string key, std::string arithmetic)
      : folder_(std::move(folder)), key_(std::move(key)), arithmetic_(std::move(arithmetic)) {}

  // Errors: kInput, kResource.
  Status Save(std::size_t layer, const EncodedLayer& matrices) const;
  // The stored layer, if it is complete, undamaged, of this key, and has these names, formats and shapes. Errors:
  // kInput (a layer of this key that another arithmetic made; later layers would not fit it).
  Result<std::optional<EncodedLayer>> Load(std::size_t layer, const std::map<std::string, MatrixShape>& shapes) const;
  // Deletes what was kept, and the folder if nothing else lies in it.
  void Remove() const;

 private:
  std::filesystem::path File(std::size_t layer) const;
  std::filesystem::path folder_;
  std::string key_;
  std::string arithmetic_;
};

}  // namespace marlin
