#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "base/rng.h"

namespace marlin {
namespace {

using Ids = std::vector<std::int32_t>;

// Every byte is a token by itself; merges make new ids from 256 on.
BpeModel Bytes() {
  BpeModel model;
  std::iota(model.bytes.begin(), model.bytes.end(), 0);
  return model;
}

Ids EncodeWord(const Bpe& bpe, std::string_view word) {
  Bpe::Workspace workspace;
  Ids ids{-7};
  bpe.Encode(word, workspace, ids);
  EXPECT_EQ(ids.front(), -7);  // appends
  return {ids.begin() + 1, ids.end()};
}

// The definition, read aloud: look at all pairs, apply the leftmost of the lowest rank, start again.
Ids Reference(const BpeModel& model, std::string_view word) {
  Ids ids;
  for (const char c : word) ids.push_back(model.bytes[static_cast<unsigned char>(c)]);
  for (;;) {
    std::size_t best_rank = model.merges.size();
    std::size_t best_position = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (model.merges[rank].left != ids[i] || model.merges[rank].right != ids[i + 1]) continue;
        best_rank = rank;
        best_position = i;
      }
    }
    if (best_rank == model.merges.size()) return ids;
    ids[best_position] = model.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_position) + 1);
  }
}

TEST(Bpe, RandomMergesEqualTheReference) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    BpeModel model = Bytes();
    std::vector<std::int32_t> known = {'a', 'b', 'c'};
    for (std::int32_t id = 256; id < 276; ++id) {
      const std::int32_t left = known[rng.Below(known.size())];
      const std::int32_t right = known[rng.Below(known.size())];
      const bool again = std::any_of(model.merges.begin(), model.merges.end(),
                                     [&](const BpeMerge& m) { return m.left == left && m.right == right; });
      if (again) continue;
      model.merges.push_back({left, right, id});
      known.push_back(id);
    }
    const Bpe bpe(model);
    for (int word = 0; word < 20; ++word) {
      std::string text(rng.Below(40), 'a');
      for (char& c : text) c = static_cast<char>('a' + rng.Below(3));
      EXPECT_EQ(EncodeWord(bpe, text), Reference(model, text)) << text;
    }
  }
}

TEST(Bpe, LeftmostFirst) {
  BpeModel model = Bytes();
  model.merges = {{'a', 'a', 256}};
  EXPECT_EQ(EncodeWord(Bpe(model), "aaa"), (Ids{256, 'a'}));
}

TEST(Bpe, LaterMergeOfAPairCounts) {
  BpeModel model = Bytes();
  model.merges = {{'a', 'b', 256}, {'b', 'c', 257}, {'a', 'b', 256}};
  EXPECT_EQ(EncodeWord(Bpe(model), "abc"), (Ids{'a', 257}));
}

TEST(Bpe, BytesWithoutTokenAreDropped) {
  BpeModel model = Bytes();
  model.bytes['x'] = -1;
  model.merges = {{'a', 'b', 256}};
  EXPECT_EQ(EncodeWord(Bpe(model), "axbx"), (Ids{256}));
  EXPECT_EQ(EncodeWord(Bpe(model), "xx"), Ids{});
  EXPECT_EQ(EncodeWord(Bpe(model), ""), Ids{});
}

TEST(Bpe, WholeWordsBeatMerges) {
  BpeModel model = Bytes();
  model.merges = {{'a', 'b', 256}};
  model.whole_words = {{"abc", 300}};
  EXPECT_EQ(EncodeWord(Bpe(model), "abc"), (Ids{300}));
  EXPECT_EQ(EncodeWord(Bpe(model), "abcd"), (Ids{256, 'c', 'd'}));
}

// Halving merges over a word of 1 MiB; a scan per merge would be 10^12 steps.
TEST(Bpe, LongWordsTakeNoQuadraticTime) {
  BpeModel model = Bytes();
  std::int32_t half = 'a';
  for (std::int32_t id = 256; id < 256 + 20; ++id) {
    model.merges.push_back({half, half, id});
    half = id;
  }
  EXPECT_EQ(EncodeWord(Bpe(model), std::string(std::size_t{1} << 20, 'a')), (Ids{256 + 19}));
}

}  // namespace
}  // namespace marlin
