// A text to encode, a byte 0, tokenizer.model.
#include <algorithm>

#include "fuzz/target_list.h"
#include "fuzz/tokenizer_checks.h"

namespace marlin {

Status FuzzSentencepiece(FuzzInput input) {
  const std::string_view all = FuzzText(input);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const std::string_view model = all.substr(std::min(end + 1, all.size()));
  const auto tokenizer = Tokenizer::FromSentencePiece(model, "", "tokenizer.model");
  if (!tokenizer) return tokenizer.error();
  return CheckTokenizer(*tokenizer, all.substr(0, end));
}

}  // namespace marlin
