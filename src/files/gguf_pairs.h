// Metadata of a GGUF file that is about to be written: keys and the values they will have.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "files/gguf.h"

namespace marlin {

// A list of truth values, one byte each.
struct GgufFlags {
  std::vector<std::uint8_t> values;
};

using GgufNewValue = std::variant<bool, std::uint16_t, std::uint32_t, std::int32_t, float, std::string,
                                  std::vector<std::string>, std::vector<std::int32_t>, std::vector<float>, GgufFlags>;

class GgufPairs {
 public:
  // Sets a key, or replaces its value; keys keep the order in which they were first set.
  void Set(std::string_view key, GgufNewValue value);
  // A text given as characters would become a truth value.
  void Set(std::string_view key, const char* text) { Set(key, std::string(text)); }

  bool Has(std::string_view key) const;
  std::size_t size() const { return pairs_.size(); }

  // As a reader of the file sees them; the views point into this object and end with the next Set.
  std::map<std::string_view, GgufValue> View() const;
  // As they lie in the file.
  std::string Bytes() const;

 private:
  std::vector<std::pair<std::string, GgufNewValue>> pairs_;
};

// Numbers and texts as they lie in a GGUF file.
void AppendGguf(std::uint32_t value, std::string& out);
void AppendGguf(std::uint64_t value, std::string& out);
void AppendGguf(std::string_view text, std::string& out);

}  // namespace marlin
