// tekken.json, a byte 0, a text to encode.
#include <algorithm>

#include "fuzz/target_list.h"
#include "fuzz/tokenizer_checks.h"

namespace marlin {

Status FuzzTekken(FuzzInput input) {
  const std::string_view all = FuzzText(input);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const auto tokenizer = Tokenizer::FromTekken(all.substr(0, end), "", "tekken.json");
  if (!tokenizer) return tokenizer.error();
  return CheckTokenizer(*tokenizer, all.substr(std::min(end + 1, all.size())));
}

}  // namespace marlin
