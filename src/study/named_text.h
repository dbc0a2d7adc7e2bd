// Texts that have a name, and the one way to find them: in the data folder, in the cache, on the network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"
#include "text/eval_text.h"

namespace marlin {

inline constexpr std::string_view kHuggingFace = "https://huggingface.co";
inline constexpr std::string_view kGists = "https://gist.githubusercontent.com";
inline constexpr std::uint64_t kMaxTextBytes = 64 << 20;  // no text or archive of the lists has a quarter of it

struct NamedText {
  std::string_view name;
  std::string_view description;  // for people
  std::string_view place;        // file inside a data folder or the cache
  std::string_view endpoint;     // of the server; empty = this text is not downloaded
  std::string_view url_path;
  std::string_view member;  // file inside the archive that is sent; empty = the text itself is sent
  std::uint64_t max_bytes = kMaxTextBytes;
  std::string_view sha256 = {};          // of the text; empty = any text is taken, and named after this row
  std::string_view archive_sha256 = {};  // another archive with the right text is only warned about
  std::string_view other_ways = "name another text or a file";  // ends the sentence that says how to get the text
};

// Empty fields are filled from the environment.
struct TextSearch {
  std::filesystem::path data_folder;  // empty = $METAL_MARLIN_DATA
  std::filesystem::path cache_dir;    // empty = CacheDir()
  std::string endpoint;               // empty = the text's own, or what a variable names instead of it
  bool offline = false;               // never touches the network; OfflineVariable() says so too
};

// What forbids a download, for messages: "--offline", or a variable of the environment; empty = nothing.
std::string ForbidsDownload(const TextSearch& search);

// The text in the data folder, else in the cache; nothing when it would have to be downloaded. A file in the cache that
// is not the text is damage, and as good as none. Errors: kInput (what the data folder holds is no text).
Result<std::optional<EvalText>> FindTextHere(const NamedText& text, const TextSearch& search);

// The same, else the text is downloaded into the cache. Errors: kInput (not to be had: says how to get it; what was
// sent is no text), kCorrupt (what was sent is another text), kResource (disk full), kInterrupted.
Result<EvalText> FindNamedText(const NamedText& text, const TextSearch& search, const ProgressFn& progress);

}  // namespace marlin
