// The environment variables by which programs share the Hugging Face Hub's cache and login.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace marlin {

struct HubSettings {
  std::string endpoint;         // HF_ENDPOINT, else https://huggingface.co; no slash behind it
  std::filesystem::path cache;  // HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub
  std::string token;            // HF_TOKEN, else the file HF_TOKEN_PATH or HF_HOME/token; may be empty
  std::string offline;          // OfflineVariable()
};

// HF_ENDPOINT, else empty; no slash behind it.
std::string HubEndpoint();

// METAL_MARLIN_GIST_ENDPOINT, a server that holds copies of gists under their paths; else empty. No slash behind it.
std::string GistEndpoint();

// Which variable forbids the network, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE; empty = none.
std::string OfflineVariable();

// The cache alone. Errors: kInput (no home).
Result<std::filesystem::path> HubCacheFolder();

// An empty variable counts as one that is not set; XDG_CACHE_HOME takes the place of ~/.cache. Errors: kUsage (an
// endpoint that is not https, a token with characters that no header may have), kInput (no home, a token file that
// cannot be read).
Result<HubSettings> ReadHubSettings();

}  // namespace marlin
