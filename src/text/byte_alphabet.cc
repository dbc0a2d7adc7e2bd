#include "text/byte_alphabet.h"

#include <array>

#include "text/unicode.h"

namespace marlin {
namespace {

constexpr int kOutside = -1;
constexpr char32_t kEnd = 0x100 + 68;  // one past the last character of the alphabet

constexpr bool StandsForItself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<char32_t, 256> kCharacters = [] {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    characters[static_cast<std::size_t>(byte)] = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return characters;
}();

constexpr std::array<int, kEnd> kBytes = [] {
  std::array<int, kEnd> bytes{};
  bytes.fill(kOutside);
  for (std::size_t byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<int>(byte);
  return bytes;
}();

}  // namespace

std::string ToByteAlphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) AppendUtf8(kCharacters[static_cast<unsigned char>(byte)], text);
  return text;
}

std::optional<std::string> FromByteAlphabet(std::string_view text) {
  if (FindInvalidUtf8(text)) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    if (next.value >= kEnd || kBytes[next.value] == kOutside) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[next.value]));
    i += next.bytes;
  }
  return bytes;
}

}  // namespace marlin
