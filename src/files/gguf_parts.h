// A GGUF model in one file, or in several: NAME-00001-of-00003.gguf, ... (llama.cpp's gguf-split).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "files/gguf.h"

namespace marlin {

struct GgufParts {
  // The first part, with the metadata of the model and the tensors of all parts. They point into the files of the
  // parts.
  GgufFile first;
  std::vector<GgufFile> others;
};

// From any of the parts. Errors: as GgufFile::Open; kInput (a part is missing, named; parts of different models).
Result<GgufParts> OpenGgufParts(const std::filesystem::path& path);

// The file of part `number` (from 1) of `count`, beside `path`, which names the whole: "x.gguf" ->
// "x-00001-of-00003.gguf".
std::filesystem::path GgufPartPath(const std::filesystem::path& path, std::size_t number, std::size_t count);

// Of a part the common name: "NAME" of NAME-00001-of-00003.gguf; else the file's name without its ending.
std::string GgufModelName(const std::filesystem::path& path);

}  // namespace marlin
