// Layers that an interrupted quantization had finished, kept beside the folder to be made: one safetensors file a
// layer, with a hash per tensor and the key of the work. Removed when the work is done.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "formats/encoded_matrix.h"
#include "model/config.h"

namespace marlin {

using EncodedLayer = std::map<Slot, EncodedMatrix>;

class LayerStore {
 public:
  // key: a hash of everything that decides the codes. Layers that were kept under another key are not used.
  LayerStore(std::filesystem::path folder, std::string key) : folder_(std::move(folder)), key_(std::move(key)) {}

  // Errors: kInput, kResource.
  Status Save(std::size_t layer, const EncodedLayer& matrices) const;
  // What was kept, if it is whole, undamaged, of this key, and holds exactly these slots in these formats and shapes.
  std::optional<EncodedLayer> Load(std::size_t layer, const ModelConfig& config,
                                   const std::map<Slot, const FormatRow*>& formats) const;
  void Remove() const;

 private:
  std::filesystem::path File(std::size_t layer) const;
  std::filesystem::path folder_;
  std::string key_;
};

}  // namespace marlin
