// The built-in sample against the corpus of minnow, where that is at hand: held out from training, and of its kind.
#include "text/sample_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "base/file.h"
#include "text/text_overlap.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

// Where the held-out part of a file begins: tools/minnow/corpus.py in bytes. The last 2 % of the characters, after the
// end of a line.
std::size_t HeldOutBegin(const std::string& text) {
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const auto characters = std::count_if(text.begin(), text.end(), starts_character);
  auto left = static_cast<std::ptrdiff_t>(static_cast<double>(characters) * (1 - 0.02));
  std::size_t at = 0;
  while (at < text.size() && (left -= starts_character(text[at]) ? 1 : 0) >= 0) ++at;
  return text.rfind('\n', at - 1) + 1;
}

// Several spaces as one: the sample has one space between two sentences of an address.
std::string WithSingleSpaces(std::string text) {
  const auto both_spaces = [](char a, char b) { return a == ' ' && b == ' '; };
  text.erase(std::unique(text.begin(), text.end(), both_spaces), text.end());
  return text;
}

TEST(SampleText, IsHeldOutFromTheTrainingOfMinnow) {
  const char* data = std::getenv("METAL_MARLIN_DATA");
  const fs::path folder = data == nullptr ? fs::path() : fs::path(data) / "train";
  if (data == nullptr || !fs::is_directory(folder)) {
    GTEST_SKIP() << "METAL_MARLIN_DATA does not name a folder with train/, the corpus of minnow";
  }
  std::string training;
  std::string held_out;
  for (const char* name : {"austen-six-novels.txt", "king-james-bible.txt", "moby-dick.txt", "sotu-1790-2021.txt"}) {
    const auto text = ReadFile(folder / name);
    ASSERT_TRUE(text) << text.error().message;
    const std::size_t begin = HeldOutBegin(*text);
    EXPECT_NEAR(static_cast<double>(begin), 0.98 * static_cast<double>(text->size()), 0.005 * 0.98 * text->size());
    training.append(*text, 0, begin);
    held_out.append(*text, begin);
  }
  held_out = WithSingleSpaces(std::move(held_out));
  const std::string sample(SampleText());
  std::size_t lines = 0;
  for (std::size_t at = 0; at < sample.size(); ++lines) {
    const std::size_t end = sample.find('\n', at);
    ASSERT_NE(end, std::string::npos) << "the text ends with a line end";
    const std::string line = WithSingleSpaces(sample.substr(at, end - at));
    EXPECT_NE(held_out.find(line), std::string::npos) << line.substr(0, 200);
    at = end + 1;
  }
  EXPECT_GT(lines, 1000u);
  // Three greetings of addresses occur in the training part too.
  EXPECT_LT(TextOverlap(training, sample), 3.5e-4);
}

}  // namespace
}  // namespace marlin
