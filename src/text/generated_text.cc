#include "text/generated_text.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace marlin {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// The first character of some bytes: how long it is, or the part of it that is there.
struct Sequence {
  std::size_t bytes = 1;
  bool whole = false;      // a character
  bool may_go_on = false;  // the text ends inside it
};

// Table 3-7 of the Unicode standard: the lead byte decides the length and the range of the second byte.
Sequence FirstSequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xc2 || lead > 0xf4) return {};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, false, true};
    if (byte(i) < (i == 1 ? least : 0x80) || byte(i) > (i == 1 ? most : 0xbf)) return {i, false, false};
  }
  return {length, true, false};
}

}  // namespace

// Takes the characters out of bytes_.
std::string GeneratedText::TakeWhole(bool at_end) {
  std::string text;
  std::string_view rest = bytes_;
  while (!rest.empty()) {
    const Sequence sequence = FirstSequence(rest);
    if (sequence.may_go_on && !at_end) break;
    text += sequence.whole ? rest.substr(0, sequence.bytes) : kReplacement;
    rest.remove_prefix(sequence.bytes);
  }
  bytes_ = std::string(rest);
  return text;
}

// Gives out what cannot be part of a stop string any more.
std::string GeneratedText::Hold(std::string_view text) {
  for (const char c : text) {
    held_ += c;
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      if (held_.ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest == 0) continue;
    stopped_ = true;
    return held_.substr(0, held_.size() - longest);
  }
  std::size_t kept = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > kept; --size) {
      if (held_.ends_with(std::string_view(stop).substr(0, size))) kept = size;
    }
  }
  std::string certain = held_.substr(0, held_.size() - kept);
  held_.erase(0, certain.size());
  return certain;
}

std::string GeneratedText::Add(std::string_view bytes) {
  if (stopped_) return {};
  bytes_ += bytes;
  return Hold(TakeWhole(false));
}

std::string GeneratedText::Finish() {
  if (stopped_) return {};
  std::string text = Hold(TakeWhole(true));
  return stopped_ ? text : text + std::exchange(held_, {});
}

}  // namespace marlin
