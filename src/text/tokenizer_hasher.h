// SHA-256 over the values of a tokenizer.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/sha256.h"

namespace marlin {

// Feeds values so that different sequences never give the same bytes.
class TokenizerHasher {
 public:
  void Number(std::int64_t value) { hash_.Update(fmt::format("{};", value)); }
  void Text(std::string_view text) {
    Number(static_cast<std::int64_t>(text.size()));
    hash_.Update(text);
  }
  std::string Digest() { return hash_.HexDigest(); }

 private:
  Sha256 hash_;
};

}  // namespace marlin
