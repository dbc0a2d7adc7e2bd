#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "text/unicode.h"

namespace marlin {
namespace {

bool InsideWord(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && IsWordCharacter(CodePointBefore(text, begin).value)) ||
         (end < text.size() && IsWordCharacter(CodePointAt(text, end).value));
}

std::size_t SkipSpaceBefore(std::string_view text, std::size_t begin) {
  while (begin > 0) {
    const CodePoint before = CodePointBefore(text, begin);
    if (!IsWhiteSpace(before.value)) break;
    begin -= before.bytes;
  }
  return begin;
}

std::size_t SkipSpaceAfter(std::string_view text, std::size_t end) {
  while (end < text.size()) {
    const CodePoint after = CodePointAt(text, end);
    if (!IsWhiteSpace(after.value)) break;
    end += after.bytes;
  }
  return end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    MARLIN_CHECK(!content.empty() && content.size() <= kLongest_bytes, "checked when the tokenizer was read");
    trie_.Insert(content, static_cast<std::int32_t>(i));
    begins_token_[static_cast<unsigned char>(content[0])] = true;
  }
}

const AddedToken* AddedTokenMatcher::LongestAt(std::string_view text, std::size_t position) const {
  const AddedToken* longest = nullptr;
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t i = position; i < text.size(); ++i) {
    node = trie_.Next(node, text[i]);
    if (node == ByteTrie::kNone) break;
    if (trie_.ValueAt(node) >= 0) longest = &tokens_[static_cast<std::size_t>(trie_.ValueAt(node))];
  }
  return longest;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::Split(std::string_view text, bool parse_special) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;  // everything before it is in `pieces`
  for (std::size_t i = 0; i < text.size() && !tokens_.empty();) {
    const AddedToken* token = begins_token_[static_cast<unsigned char>(text[i])] ? LongestAt(text, i) : nullptr;
    if (token == nullptr) {
      ++i;
      continue;
    }
    std::size_t begin = i;
    std::size_t end = i + token->content.size();
    i = end;
    if (token->special && !parse_special) continue;
    if (token->single_word && InsideWord(text, begin, end)) continue;
    if (token->lstrip) begin = std::max(SkipSpaceBefore(text, begin), done);
    if (token->rstrip) end = SkipSpaceAfter(text, end);
    if (done < begin) pieces.push_back({text.substr(done, begin - done), -1});
    pieces.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
  return pieces;
}

}  // namespace marlin
