// One safetensors file, read.
//
//   header length u64 | header, JSON: {"name": {"dtype": "F16", "shape": [n, k], "data_offsets": [begin, end]}, ...,
//   "__metadata__": {"key": "value"}} | data: the tensors back to back, without holes
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "files/tensor.h"

namespace marlin {

struct SafetensorsFile {
  MappedFile file;                                     // what the spans of `tensors` point into
  std::map<std::string, std::string> metadata;         // "__metadata__"
  std::vector<Tensor> tensors;                         // in file order
  std::unordered_map<std::string, std::size_t> index;  // name -> position in tensors
};

// Errors: kInput (truncated, overlapping, holes, wrong sizes: names file and tensor), kUnsupported (dtype, named).
Result<SafetensorsFile> OpenSafetensors(const std::filesystem::path& path);

// By name; null when there is none.
const Tensor* FindTensor(const SafetensorsFile& file, std::string_view name);

// What SafetensorsWriter records for a tensor in the metadata: its SHA-256 under this key.
std::string HashKey(std::string_view tensor_name);

// Whether the tensor has the hash recorded for it; false if none was recorded.
bool MatchesHash(const SafetensorsFile& file, const Tensor& tensor);

}  // namespace marlin
