// Downloads one file over https. The target is written atomically. An interrupted download is continued by the next one
// if the server confirms that the file is unchanged.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

// An answer that is not the file and will not become it.
struct Refusal {
  long status = 0;
  std::string host;
  std::string error_code;  // of the header X-Error-Code, may be empty
};

struct Download {
  std::string url;               // https, or http on this machine; redirects obey the same rule
  std::filesystem::path target;  // its folder is created
  std::uint64_t max_bytes = 0;   // a longer file is an error
  std::string stage;             // of the progress, whose unit is bytes

  std::optional<std::uint64_t> bytes;  // the file's size, if it is known: another one is an error
  std::filesystem::path partial;       // where the file grows; empty = target.part
  std::string origin;         // a name of the bytes by which any URL of them continues the file; empty = the URL
  std::string authorization;  // the value of that header; sent to the server of `url` and to no other
  // Looks at the whole file before it gets its name. With kCorrupt the file is deleted. May be empty.
  std::function<Status(const std::filesystem::path&)> check;
  // The sentence about a refusal; where it or the function is empty, a general one is used.
  std::function<std::string(const Refusal&)> explain;
  std::function<void(const std::string&)> say;  // told when a failed attempt is repeated; may be empty

  // Failures that may pass (connection lost, server busy) are tried again after first_pause, then twice that, ... An
  // attempt that brings more than a megabyte that was not there before does not count.
  int attempts = 4;
  std::chrono::milliseconds first_pause{500};
  std::chrono::seconds connect_timeout{20};
  std::chrono::seconds stall_timeout{30};  // no data for so long is a lost connection
};

// Proxies come from the environment (https_proxy, no_proxy), as libcurl reads it.
// Errors: kUsage (URL not fetchable), kInput (the server's or the network's answer, in words; too long or of another
// size; target cannot be written), kResource (disk full), kInterrupted (within about a second; the partial file stays
// for the next time), and those of `check`.
Status Fetch(const Download& download, const ProgressFn& progress);

// The same into memory, for short texts; target, stage, partial and check have no meaning. Errors: as Fetch.
Result<std::string> FetchText(const Download& download);

}  // namespace marlin
