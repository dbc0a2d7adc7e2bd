#include "text/joinable_pairs.h"

#include "text/unicode.h"

namespace marlin {

JoinablePairs::JoinablePairs()
    : ascii_(static_cast<std::size_t>(kAscii) * kAscii), hashed_((std::size_t{1} << kHashBits) / 64) {}

void JoinablePairs::AddToken(std::string_view token) {
  char32_t left = 0;
  for (std::size_t i = 0; i < token.size();) {
    const CodePoint right = CodePointAt(token, i);
    if (i > 0) {
      if (left < kAscii && right.value < kAscii) {
        ascii_[left * kAscii + right.value] = 1;
      } else {
        const std::uint32_t bit = Bit(left, right.value);
        hashed_[bit >> 6] |= std::uint64_t{1} << (bit & 63);
      }
    }
    left = right.value;
    i += right.bytes;
  }
}

}  // namespace marlin
