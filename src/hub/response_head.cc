#include "hub/response_head.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>

namespace marlin {
namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

// flags: as of curl_url_get.
std::string UrlPart(const std::string& url, CURLUPart part, unsigned int flags = 0) {
  const std::unique_ptr<CURLU, UrlDeleter> parsed(curl_url());
  char* text = nullptr;
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  if (curl_url_get(parsed.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string value = text;
  curl_free(text);
  return value;
}

// The number that `text` begins with.
std::optional<std::uint64_t> LeadingNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace

void ResponseHead::Add(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // the head of the next response, after an interim one
    *this = {};
    status = static_cast<long>(LeadingNumber(line.substr(std::min(line.size(), line.find(' ') + 1))).value_or(0));
    return;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.size(), value.find_first_not_of(" \t")));
  if (name == "etag") etag = value;
  if (name == "last-modified") last_modified = value;
  if (name == "x-error-code") error_code = value;
  if (name == "content-length") length = LeadingNumber(value);
  if (name == "content-range" && value.starts_with("bytes ")) {
    range_begin = LeadingNumber(value.substr(6));
    const std::size_t slash = value.find('/');
    if (slash != std::string_view::npos) range_size = LeadingNumber(value.substr(slash + 1));
  }
}

std::string HostOf(const std::string& url) { return UrlPart(url, CURLUPART_HOST); }

bool IsThisMachine(const std::string& host) {
  std::uint32_t address = 0;
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1) return ntohl(address) >> 24 == 127;
  return host == "localhost" || host == "[::1]";
}

bool SameServer(const std::string& a, const std::string& b) {
  for (const CURLUPart part : {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT}) {
    const std::string of_a = UrlPart(a, part, CURLU_DEFAULT_PORT);
    if (of_a.empty() || of_a != UrlPart(b, part, CURLU_DEFAULT_PORT)) return false;
  }
  return true;
}

bool IsFetchable(const std::string& url) {
  const std::string scheme = UrlPart(url, CURLUPART_SCHEME);
  const std::string host = HostOf(url);
  return !host.empty() && (scheme == "https" || (scheme == "http" && IsThisMachine(host)));
}

}  // namespace marlin
