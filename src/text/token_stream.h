// A tokenized text, divided into windows of ctx tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace marlin {

struct TokenStream {
  std::vector<std::int32_t> tokens;         // BOS in front if the tokenizer adds it
  std::vector<std::uint32_t> token_bytes;   // bytes of text of each token; 0 for BOS
  std::int32_t window_bos = -1;             // written over token 0 of every window; -1 = not
  std::vector<std::int32_t> window_before;  // with BOS: written before it, as many tokens further on

  // `ctx` tokens from `begin` on, BOS in its place. begin + ctx <= tokens.size(); ctx > window_before.size().
  std::vector<std::int32_t> Window(std::size_t begin, std::size_t ctx) const;
};

// The text is tokenized whole; special tokens written in it are text. Errors: kInput (not UTF-8).
Result<TokenStream> MakeTokenStream(const Tokenizer& tokenizer, std::string_view text);

// Checks that every token is below `vocab`. Errors: kInput (tokenizer and model do not belong together).
Status CheckTokens(const TokenStream& stream, std::size_t vocab);

}  // namespace marlin
