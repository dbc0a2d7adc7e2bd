#include "text/precompiled_charsmap.h"

#include <fmt/format.h>

#include <utility>

#include "text/unicode.h"

namespace marlin {
namespace {

constexpr std::size_t kShortGrapheme_bytes = 6;

// A unit of the double-array trie: bits 0-7 the label, bit 8 "a key ends here", bits 10-30 the offset of the children,
// which bit 9 multiplies by 256; bit 31 marks units that hold a value.
bool EndsKey(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t ValueOf(std::uint32_t unit) { return unit & 0x7fffffff; }
std::uint32_t LabelOf(std::uint32_t unit) { return unit & (0x80000000 | 0xff); }
std::uint32_t OffsetOf(std::uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

std::uint32_t LittleEndian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

}  // namespace

Result<PrecompiledCharsmap> PrecompiledCharsmap::Read(std::string_view bytes) {
  const auto broken = [&](std::string_view what) {
    return Error{ErrorCode::kInput,
                 fmt::format("the precompiled charsmap ({} bytes) is broken: {}", bytes.size(), what)};
  };
  if (bytes.size() < 4) return broken("it has no size of the trie");
  const std::size_t trie = LittleEndian(bytes, 0);
  if (trie % 4 != 0 || trie == 0 || trie > bytes.size() - 4) {
    return broken(fmt::format("the trie shall have {} bytes, want a multiple of 4 that fits", trie));
  }
  PrecompiledCharsmap map;
  map.units_.resize(trie / 4);
  for (std::size_t i = 0; i < map.units_.size(); ++i) map.units_[i] = LittleEndian(bytes, 4 + 4 * i);
  map.replacements_ = bytes.substr(4 + trie);
  if (const auto bad = FindInvalidUtf8(map.replacements_)) {
    return broken(fmt::format("the replacements are not UTF-8 at byte {}", *bad));
  }
  return map;
}

std::optional<std::string_view> PrecompiledCharsmap::Lookup(std::string_view chunk) const {
  std::size_t node = OffsetOf(units_[0]);
  for (const char c : chunk) {
    const auto label = static_cast<unsigned char>(c);
    if (label == 0) return std::nullopt;
    node ^= label;
    if (node >= units_.size() || LabelOf(units_[node]) != label) return std::nullopt;
    const std::uint32_t unit = units_[node];
    node ^= OffsetOf(unit);
    if (!EndsKey(unit)) continue;
    if (node >= units_.size()) return std::nullopt;
    const std::size_t begin = ValueOf(units_[node]);
    if (begin > replacements_.size()) return std::nullopt;
    // A place inside a character is none that SentencePiece writes.
    if (begin < replacements_.size() && (static_cast<unsigned char>(replacements_[begin]) & 0xc0) == 0x80) {
      return std::nullopt;
    }
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string PrecompiledCharsmap::Normalize(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  std::vector<std::size_t> ends;
  GraphemeEnds(text, ends);
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    const std::string_view grapheme = text.substr(begin, end - begin);
    begin = end;
    if (grapheme.size() < kShortGrapheme_bytes) {
      if (const auto whole = Lookup(grapheme)) {
        out += *whole;
        continue;
      }
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::string_view character = grapheme.substr(i, CodePointAt(grapheme, i).bytes);
      out += Lookup(character).value_or(character);
      i += character.size();
    }
  }
  return out;
}

}  // namespace marlin
