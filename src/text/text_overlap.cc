#include "text/text_overlap.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace marlin {
namespace {

// FNV-1a, 64 bits: over texts of some million words an accidental match is as likely as 1 in a million.
constexpr std::uint64_t kOffset = 0xcbf29ce484222325;
constexpr std::uint64_t kPrime = 0x100000001b3;

// Of a short text few runs are in a sketch: fewer common ones than these may be a quotation or two.
constexpr std::size_t kLeastShared = 3;

// The sketch of WikiText-2 test, by tools/make_text_sketch.py.
constexpr std::uint64_t kWikiText2Test[] = {
#include "text/wikitext2_test_sketch.inc"
};

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

std::vector<std::uint64_t> WordHashes(std::string_view text) {
  std::vector<std::uint64_t> words;
  for (std::size_t at = 0; at < text.size();) {
    if (IsSpace(text[at])) {
      ++at;
      continue;
    }
    std::uint64_t hash = kOffset;
    for (; at < text.size() && !IsSpace(text[at]); ++at) {
      hash = (hash ^ static_cast<unsigned char>(text[at])) * kPrime;
    }
    words.push_back(hash);
  }
  return words;
}

// Hashes of all runs of kOverlapWords words, in the order of the text.
std::vector<std::uint64_t> Runs(std::string_view text) {
  const std::vector<std::uint64_t> words = WordHashes(text);
  std::vector<std::uint64_t> runs;
  for (std::size_t i = 0; i + kOverlapWords <= words.size(); ++i) {
    std::uint64_t hash = kOffset;
    for (std::size_t w = 0; w < kOverlapWords; ++w) {
      for (int byte = 0; byte < 8; ++byte) hash = (hash ^ (words[i + w] >> (8 * byte) & 255)) * kPrime;
    }
    runs.push_back(hash);
  }
  return runs;
}

// How many of the runs are in `others`, which is sorted.
std::size_t CountShared(std::span<const std::uint64_t> runs, std::span<const std::uint64_t> others) {
  return static_cast<std::size_t>(std::count_if(runs.begin(), runs.end(), [&](std::uint64_t run) {
    return std::binary_search(others.begin(), others.end(), run);
  }));
}

double Share(std::span<const std::uint64_t> runs, std::span<const std::uint64_t> others) {
  if (runs.empty()) return 0;
  return static_cast<double>(CountShared(runs, others)) / static_cast<double>(runs.size());
}

}  // namespace

double TextOverlap(std::string_view a, std::string_view b) {
  auto runs_a = Runs(a);
  auto runs_b = Runs(b);
  std::sort(runs_a.begin(), runs_a.end());
  std::sort(runs_b.begin(), runs_b.end());
  return std::max(Share(runs_a, runs_b), Share(runs_b, runs_a));
}

std::vector<std::uint64_t> OverlapSketch(std::string_view text) {
  auto runs = Runs(text);
  std::erase_if(runs, [](std::uint64_t run) { return run % kSketchOneIn != 0; });
  std::sort(runs.begin(), runs.end());
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  return runs;
}

double OverlapWithSketch(std::string_view text, std::span<const std::uint64_t> sketch) {
  const auto own = OverlapSketch(text);
  if (CountShared(own, sketch) < kLeastShared) return 0;
  return std::max(Share(own, sketch), Share(sketch, own));
}

std::span<const std::uint64_t> WikiText2TestSketch() { return kWikiText2Test; }

}  // namespace marlin
