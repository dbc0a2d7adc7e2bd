// Names of models on the Hugging Face Hub, as users write them: ORG/MODEL, ORG/MODEL@REVISION, ORG/MODEL:FILE.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

struct HubName {
  std::string repository;  // "ORG/MODEL"
  std::string revision;    // branch, tag or commit; empty = main
  std::string file;        // of several GGUF files: a name or a quantization such as Q4_K_M; empty = not said

  std::string RevisionOrMain() const { return revision.empty() ? "main" : revision; }
  // As the user would write it.
  std::string Text() const;
};

// Whether the word could be the name of a repository: one slash, letters, digits and ._- around it.
bool IsRepositoryName(std::string_view word);

// 40 hexadecimal digits.
bool IsCommit(std::string_view revision);

// Errors: kUsage, with what is wrong about the word.
Result<HubName> ParseHubName(const std::string& word);

// Whether a file of a repository can lie below a folder of ours under this name: a relative path of plain components,
// without control characters. Errors: kInput, with the name in ASCII.
Status CheckFileName(std::string_view name);

// Text of others for a message: quoted, in ASCII, without control characters, cut when it is long.
std::string QuoteForeign(std::string_view text);

// A path for a URL: everything but letters, digits and -._~/ is escaped.
std::string EscapePath(std::string_view path);

}  // namespace marlin
