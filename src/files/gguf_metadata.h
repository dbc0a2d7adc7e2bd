// The metadata of one architecture in a GGUF file, and which of its keys were asked for: a key that nobody asks for has
// no effect, and that is an error unless it is known to be harmless (CheckGgufKeys).
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "files/gguf.h"

namespace marlin {

class GgufMetadata {
 public:
  // `gguf` outlives this.
  GgufMetadata(const GgufFile& gguf, std::string_view architecture) : gguf_(&gguf), architecture_(architecture) {}

  const GgufFile& gguf() const { return *gguf_; }
  const std::set<std::string, std::less<>>& read() const { return read_; }  // suffixes

  // Errors about the file: kInput, kUnsupported.
  Error Bad(const std::string& what) const;
  Error Unsupported(const std::string& what) const;

  // All of ARCH.suffix. Empty when absent. Errors: kInput (another type).
  // A number, whatever its width; 0 or 1 of a truth value. kUnsupported: a list.
  Result<std::optional<nlohmann::json>> Number(std::string_view suffix) const;
  Result<std::optional<std::string>> Text(std::string_view suffix) const;
  // A number, or one for each block. `blocks`: how many a list must have.
  Result<std::optional<std::vector<double>>> Numbers(std::string_view suffix, std::size_t blocks) const;

  // A positive number; `otherwise` when absent.
  Result<double> Positive(std::string_view suffix, double otherwise) const;

 private:
  const GgufValue* Find(std::string_view suffix) const;
  std::string Name(std::string_view suffix) const;

  const GgufFile* gguf_;
  std::string architecture_;
  mutable std::set<std::string, std::less<>> read_;
};

// The shortest decimal that gives the same float, so that 1e-5 stored as f32 reads 1e-05 and not 9.999999747378752e-06.
double ShortestDecimal(double value);

}  // namespace marlin
