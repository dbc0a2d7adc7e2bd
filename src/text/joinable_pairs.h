// Which characters stand side by side in some token of a vocabulary. Where two characters do not, no token goes across,
// so that a text can be cut there without changing its tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace marlin {

class JoinablePairs {
 public:
  JoinablePairs();

  // Adds the neighbours inside a token (well-formed UTF-8).
  void AddToken(std::string_view token);

  // False only when no token joins the two. May be true by chance, which costs only time.
  bool MayJoin(char32_t left, char32_t right) const {
    if (left < kAscii && right < kAscii) return ascii_[left * kAscii + right];
    const std::uint32_t bit = Bit(left, right);
    return (hashed_[bit >> 6] >> (bit & 63) & 1) != 0;
  }

 private:
  static constexpr char32_t kAscii = 128;
  static constexpr int kHashBits = 22;  // 512 KiB

  static std::uint32_t Bit(char32_t left, char32_t right) {
    const std::uint64_t key = static_cast<std::uint64_t>(left) << 32 | right;
    return static_cast<std::uint32_t>((key * 0x9e3779b97f4a7c15u) >> (64 - kHashBits));
  }

  std::vector<std::uint8_t> ascii_;
  std::vector<std::uint64_t> hashed_;
};

}  // namespace marlin
