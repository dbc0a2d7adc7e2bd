// What the head of an HTTP response says about a file, and what URLs may be fetched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace marlin {

struct ResponseHead {
  long status = 0;
  bool complete = false;  // what follows are trailers
  std::string etag;
  std::string last_modified;
  std::string error_code;                    // X-Error-Code: the Hub's word for the reason of a refusal
  std::optional<std::uint64_t> length;       // of this body
  std::optional<std::uint64_t> range_begin;  // Content-Range: bytes begin-end/size
  std::optional<std::uint64_t> range_size;

  // A line without its end.
  void Add(std::string_view line);
  // A weak ETag does not promise equal bytes, so it cannot be used to continue.
  const std::string& validator() const { return etag.starts_with("\"") ? etag : last_modified; }
};

// The host, as in "[::1]"; empty where the text is no URL.
std::string HostOf(const std::string& url);

// Localhost, 127.0.0.0/8, ::1.
bool IsThisMachine(const std::string& host);

// Whether both URLs lead to the same program: scheme, host and port.
bool SameServer(const std::string& a, const std::string& b);

// True for https, and for http where the host is this machine. Nothing else is fetched.
bool IsFetchable(const std::string& url);

}  // namespace marlin
