#include "hub/hub_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <initializer_list>

#include "base/file.h"
#include "base/open_file.h"
#include "hub/response_head.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr const char* kHub = "https://huggingface.co";

// The first of the variables that says something.
std::string Variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const value = std::getenv(name);
    if (value != nullptr && value[0] != 0) return value;
  }
  return "";
}

// "~/x" as a shell would read it.
fs::path WithHome(const std::string& path) {
  if (path != "~" && !path.starts_with("~/")) return path;
  return fs::path(Variable({"HOME"})) / path.substr(std::min<std::size_t>(path.size(), 2));
}

std::string EndpointIn(const char* name) {
  std::string endpoint = Variable({name});
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint;
}

bool IsTrue(std::string word) {
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return word == "1" || word == "ON" || word == "YES" || word == "TRUE";
}

std::string Trimmed(std::string text) {
  constexpr const char* kSpace = " \t\r\n";
  text.erase(0, text.find_first_not_of(kSpace));
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text;
}

// Folder of the cache and of the login; empty where nothing says it.
fs::path HubHome() {
  if (const std::string home = Variable({"HF_HOME"}); !home.empty()) return WithHome(home);
  if (const std::string caches = Variable({"XDG_CACHE_HOME"}); !caches.empty()) return WithHome(caches) / "huggingface";
  const std::string home = Variable({"HOME"});
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "huggingface";
}

Result<std::string> ReadToken(const fs::path& home) {
  std::string source = "HF_TOKEN";
  std::string token = Trimmed(Variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  if (token.empty()) {
    const std::string named = Variable({"HF_TOKEN_PATH"});
    const fs::path path = named.empty() ? home / "token" : WithHome(named);
    if (!IsListed(path)) return token;
    auto text = ReadFile(path, 1 << 16);
    if (!text) return text.error();
    token = Trimmed(std::move(*text));
    source = path.string();
  }
  const bool plain = std::ranges::all_of(token, [](char c) { return c > ' ' && c < 0x7f; });
  if (plain) return token;
  return Error{ErrorCode::kUsage, fmt::format("the token in {} holds spaces or control characters; it is not one of "
                                              "the Hugging Face Hub",
                                              source)};
}

}  // namespace

std::string HubEndpoint() { return EndpointIn("HF_ENDPOINT"); }

std::string GistEndpoint() { return EndpointIn("METAL_MARLIN_GIST_ENDPOINT"); }

std::string OfflineVariable() {
  for (const char* name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    if (const std::string value = Variable({name}); !value.empty()) return IsTrue(value) ? name : "";
  }
  return "";
}

Result<fs::path> HubCacheFolder() {
  const std::string cache = Variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  if (!cache.empty()) return WithHome(cache);
  const fs::path home = HubHome();
  if (!home.empty()) return home / "hub";
  return Error{ErrorCode::kInput,
               "there is no folder for models: none of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME is set"};
}

Result<HubSettings> ReadHubSettings() {
  HubSettings settings;
  settings.endpoint = Variable({"HF_ENDPOINT"}).empty() ? kHub : HubEndpoint();
  if (!IsFetchable(settings.endpoint)) {
    return Error{ErrorCode::kUsage, fmt::format("HF_ENDPOINT is {}, which is not an https URL; http is only for this "
                                                "machine",
                                                settings.endpoint)};
  }
  if (auto status = HubCacheFolder().MoveTo(settings.cache); !status) return status.error();
  settings.offline = OfflineVariable();
  if (auto status = ReadToken(HubHome()).MoveTo(settings.token); !status) return status.error();
  return settings;
}

}  // namespace marlin
