#include "text/token_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/check.h"

namespace marlin {

std::vector<std::int32_t> TokenStream::Window(std::size_t begin, std::size_t ctx) const {
  MARLIN_CHECK(begin + ctx <= tokens.size(), "window inside the stream");
  const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
  std::vector<std::int32_t> window(first, first + static_cast<std::ptrdiff_t>(ctx));
  if (window_bos >= 0) {
    MARLIN_CHECK(window_before.size() < ctx, "room for the tokens in front");
    std::ranges::copy(window_before, window.begin());
    window[window_before.size()] = window_bos;
  }
  return window;
}

Result<TokenStream> MakeTokenStream(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.Encode(text);
  if (!ids) return ids.error();
  TokenStream stream;
  if (tokenizer.adds_bos()) {
    stream.tokens = tokenizer.prefix();
    stream.token_bytes.assign(stream.tokens.size(), 0);
    stream.window_bos = tokenizer.bos();
    stream.window_before.assign(stream.tokens.begin(), stream.tokens.end() - 1);
  }
  const std::size_t first = stream.tokens.size();
  stream.tokens.insert(stream.tokens.end(), ids->begin(), ids->end());
  for (const std::int32_t id : *ids) {
    stream.token_bytes.push_back(static_cast<std::uint32_t>(tokenizer.Decode({&id, 1}).size()));
  }
  // A space that the tokenizer puts in front of every text is no byte of this one.
  if (first < stream.tokens.size() && !text.starts_with(' ') &&
      tokenizer.Decode(std::span(stream.tokens).subspan(first, 1)).starts_with(' ')) {
    --stream.token_bytes[first];
  }
  return stream;
}

Status CheckTokens(const TokenStream& stream, std::size_t vocab) {
  for (const std::int32_t token : stream.tokens) {
    if (token >= 0 && static_cast<std::size_t>(token) < vocab) continue;
    return Error{ErrorCode::kInput,
                 fmt::format("the tokenizer gave token {}, the model's vocabulary has {}: they do not "
                             "belong together",
                             token, vocab)};
  }
  return {};
}

}  // namespace marlin
