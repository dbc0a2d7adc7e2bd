// SHA-256, as lower-case hexadecimal; and SHA-1, only for what git names by it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

class Digest {
 public:
  enum class Kind { kSha256, kSha1 };
  explicit Digest(Kind kind);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void Update(std::span<const std::uint8_t> bytes);
  void Update(std::string_view text);
  std::string HexDigest();  // ends the computation

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Sha256 : public Digest {
 public:
  Sha256() : Digest(Kind::kSha256) {}
};

std::string Sha256Hex(std::span<const std::uint8_t> bytes);
std::string Sha256Hex(std::string_view text);
// Errors: kInput when the file cannot be read.
Result<std::string> Sha256OfFile(const std::filesystem::path& path);

}  // namespace marlin
