// The metadata keys of GGUF files that this program knows; what they become is said in gguf_names.cc, gguf_to_hf.cc and
// tokenizer_gguf.cc. The names are those of llama.cpp's converters and of programs that add keys of their own.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "files/accepted_names.h"
#include "files/gguf.h"

namespace marlin {

// Every key of the file. `read`: suffixes of the architecture's keys that the family reads. Errors: kUnsupported,
// naming the first key that is neither used nor harmless.
Status CheckGgufKeys(const GgufFile& gguf, std::string_view architecture,
                     const std::set<std::string, std::less<>>& read, AcceptedNames& accepted);

}  // namespace marlin
