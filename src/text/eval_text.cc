#include "text/eval_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <utility>

#include "base/sha256.h"
#include "text/sample_text.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

// The position of the first byte that is not UTF-8 text.
std::optional<std::size_t> FirstBadByte(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code_point = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
    const utf8proc_ssize_t length =
        utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code_point);
    if (length <= 0 || code_point == 0) return at;  // 0: no text holds it, though UTF-8 may
    at += static_cast<std::size_t>(length);
  }
  return std::nullopt;
}

Status CheckText(const fs::path& path, std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return Error{ErrorCode::kInput, fmt::format("{} holds no text; give a file of UTF-8 text", path.string())};
  }
  const auto bad = FirstBadByte(text);
  if (bad && text[*bad] == 0) {
    return Error{
        ErrorCode::kInput,
        fmt::format("{} is not a text: byte {} (0x00) is NUL, as in binary files and in UTF-16; give a file of "
                    "UTF-8 text",
                    path.string(), *bad)};
  }
  if (bad) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} is not a text: byte {} (0x{:02x}) is not UTF-8; give a file of UTF-8 text",
                             path.string(), *bad, static_cast<unsigned char>(text[*bad]))};
  }
  return {};
}

}  // namespace

Result<EvalText> OpenEvalText(const fs::path& path) {
  auto file = MappedFile::Open(path);
  if (!file) return file.error();
  EvalText result;
  result.path = path;
  result.text = {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
  result.file = std::move(*file);
  if (auto status = CheckText(path, result.text); !status) return status.error();
  result.sha256 = Sha256Hex(result.text);
  result.is_standard = result.sha256 == kWikiText2Sha256;
  result.name = result.is_standard ? std::string(kWikiText2Name) : path.filename().string();
  if (!result.is_standard && result.name == kWikiText2FileName) {
    result.name = fmt::format("{} (not the standard file, sha256 {})", kWikiText2FileName, result.sha256.substr(0, 8));
    result.warnings.push_back(fmt::format(
        "{} is not the WikiText-2 test file in spite of its name: it has {} bytes and sha256 {}, should have {} "
        "and {}; numbers on it do not compare with WikiText-2",
        path.string(), result.text.size(), result.sha256, kWikiText2Bytes, kWikiText2Sha256));
  }
  return result;
}

EvalText AbsentWikiText2() {
  EvalText result;
  result.name = kWikiText2Name;
  result.sha256 = kWikiText2Sha256;
  result.is_standard = true;
  result.absent_bytes = kWikiText2Bytes;
  return result;
}

EvalText BuiltInSample() {
  EvalText result;
  result.name = kBuiltInSampleName;
  result.text = SampleText();
  result.sha256 = Sha256Hex(result.text);
  return result;
}

}  // namespace marlin
