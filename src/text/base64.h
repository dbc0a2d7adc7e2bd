// Base64 (RFC 4648, with padding), which tokenizer files use for bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace marlin {

std::string EncodeBase64(std::string_view bytes);

// Nothing for a text that is not base64.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace marlin
