// Downloads one file over https. The target is written atomically. An interrupted download is continued by the next one
// if the server confirms that the file is unchanged.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

struct Download {
  std::string url;               // https, or http on this machine; redirects obey the same rule
  std::filesystem::path target;  // its folder is created
  std::uint64_t max_bytes = 0;   // a longer file is an error
  std::string stage;             // of the progress, whose unit is bytes

  // Failures that may pass (connection lost, server busy) are tried again after first_pause, then twice that, ...
  int attempts = 4;
  std::chrono::milliseconds first_pause{500};
  std::chrono::seconds connect_timeout{20};
  std::chrono::seconds stall_timeout{30};  // no data for so long is a lost connection
};

// True for https, and for http where the host is this machine (localhost, 127.0.0.0/8, ::1). Nothing else is fetched.
bool IsFetchable(const std::string& url);

// Proxies come from the environment (https_proxy, no_proxy), as libcurl reads it.
// Errors: kUsage (URL not fetchable), kInput (the server's or the network's answer, in words; too long; target cannot
// be written), kResource (disk full), kInterrupted (within about a second; the partial file stays for the next time).
Status Fetch(const Download& download, const ProgressFn& progress);

}  // namespace marlin
