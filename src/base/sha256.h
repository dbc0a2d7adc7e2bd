// SHA-256, as lower-case hexadecimal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::span<const std::uint8_t> bytes);
  void Update(std::string_view text);
  std::string HexDigest();  // ends the computation

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Sha256Hex(std::span<const std::uint8_t> bytes);
std::string Sha256Hex(std::string_view text);
// Errors: kInput when the file cannot be read.
Result<std::string> Sha256OfFile(const std::filesystem::path& path);

}  // namespace marlin
