#include "hub/download.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "hub/partial_file.h"

namespace marlin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kMaxRedirects = 5;
constexpr milliseconds kLongestPause{60'000};     // what a server may ask for with Retry-After
constexpr std::uint64_t kMaxErrorPage = 1 << 20;  // of a page that is not the file and is not kept
constexpr milliseconds kProgressInterval{100};

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string UrlPart(const std::string& url, CURLUPart part) {
  const std::unique_ptr<CURLU, UrlDeleter> parsed(curl_url());
  char* text = nullptr;
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  if (curl_url_get(parsed.get(), part, &text, 0) != CURLUE_OK) return "";
  std::string value = text;
  curl_free(text);
  return value;
}

bool IsThisMachine(const std::string& host) {
  std::uint32_t address = 0;
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1) return ntohl(address) >> 24 == 127;
  return host == "localhost" || host == "[::1]";
}

// The number that `text` begins with.
std::optional<std::uint64_t> LeadingNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{}) return std::nullopt;
  return value;
}

// What the head of a response says about the file.
struct ResponseHead {
  long status = 0;
  bool complete = false;  // what follows are trailers
  std::string etag;
  std::string last_modified;
  std::optional<std::uint64_t> length;       // of this body
  std::optional<std::uint64_t> range_begin;  // Content-Range: bytes begin-end/size
  std::optional<std::uint64_t> range_size;

  void Add(std::string_view line);
  // A weak ETag does not promise equal bytes, so it cannot be used to continue.
  const std::string& validator() const { return etag.starts_with("\"") ? etag : last_modified; }
};

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
  if (name == "content-length") length = LeadingNumber(value);
  if (name == "content-range" && value.starts_with("bytes ")) {
    range_begin = LeadingNumber(value.substr(6));
    const std::size_t slash = value.find('/');
    if (slash != std::string_view::npos) range_size = LeadingNumber(value.substr(slash + 1));
  }
}

// How one request ended.
enum class Next { kDone, kRedirect, kAgain, kGiveUp };

struct Outcome {
  Next next = Next::kGiveUp;
  Error error;            // with kAgain and kGiveUp
  std::string location;   // with kRedirect
  milliseconds pause{0};  // with kAgain: what the server asks for
};

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

// The requests of one download: one partial file.
class Transfer {
 public:
  Transfer(const Download& download, const ProgressFn& progress, PartialFile& file)
      : download_(download), progress_(progress), file_(file) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // From the first URL through its redirects to an end.
  Outcome Attempt();

 private:
  Outcome Request(const std::string& url);
  Outcome JudgeFailure(const std::string& url, CURLcode code);
  Outcome JudgeStatus(const std::string& url);
  Error Sentence(ErrorCode code, std::string_view what) const {
    return {code, fmt::format("cannot download {}: {}", download_.url, what)};
  }
  Error TooLong() const {
    return Sentence(ErrorCode::kInput,
                    fmt::format("it is longer than the {} bytes that it may have", download_.max_bytes));
  }

  bool OnHeadComplete();
  bool OnBody(std::span<const std::uint8_t> bytes);
  void Report();
  static std::size_t HeaderCallback(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t BodyCallback(char* data, std::size_t, std::size_t size, void* self);
  static int PollCallback(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

  const Download& download_;
  const ProgressFn& progress_;
  PartialFile& file_;
  std::unique_ptr<CURL, FreeHandle> curl_;  // of the last request
  std::array<char, CURL_ERROR_SIZE> curl_message_{};
  ResponseHead head_;
  bool is_file_ = false;          // the body belongs into the file
  std::uint64_t file_bytes_ = 0;  // of the whole file, 0 = unknown
  std::uint64_t discarded_bytes_ = 0;
  std::optional<Error> error_;  // why a callback ended the request
  Clock::time_point reported_{};
};

std::size_t Transfer::HeaderCallback(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  std::string_view line(data, size);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (!line.empty()) {
    transfer.head_.Add(line);
    return size;
  }
  return transfer.OnHeadComplete() ? size : 0;
}

std::size_t Transfer::BodyCallback(char* data, std::size_t, std::size_t size, void* self) {
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(data), size);
  return static_cast<Transfer*>(self)->OnBody(bytes) ? size : 0;
}

int Transfer::PollCallback(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  static_cast<Transfer*>(self)->Report();
  return Interrupted() ? 1 : 0;
}

// Decides, before the first byte of the body, where that byte belongs.
bool Transfer::OnHeadComplete() {
  if (std::exchange(head_.complete, true)) return true;
  is_file_ = false;
  if (head_.status == 200) {
    if (auto status = file_.Restart(head_.validator()); !status) error_ = status.error();
    file_bytes_ = head_.length.value_or(0);
    is_file_ = true;
  } else if (head_.status == 206 && file_.size() > 0 && head_.range_begin == file_.size() &&
             head_.range_size > file_.size() && head_.validator() == file_.validator()) {
    // A part that was not asked for, or of a file of unknown size, could not be told from the whole.
    file_bytes_ = *head_.range_size;
    is_file_ = true;
  }
  if (is_file_ && file_bytes_ > download_.max_bytes) error_ = TooLong();
  return !error_;
}

bool Transfer::OnBody(std::span<const std::uint8_t> bytes) {
  if (!is_file_) {
    discarded_bytes_ += bytes.size();
    return discarded_bytes_ <= kMaxErrorPage;
  }
  if (bytes.size() > download_.max_bytes - file_.size()) {
    const auto emptied = file_.Restart("");  // not to be continued
    error_ = emptied ? TooLong() : emptied.error();
  } else if (auto status = file_.Append(bytes); !status) {
    error_ = status.error();
  }
  return !error_;
}

void Transfer::Report() {
  const auto now = Clock::now();
  if (!progress_ || !is_file_ || now - reported_ < kProgressInterval) return;
  reported_ = now;
  progress_({download_.stage, file_.size(), file_bytes_, "bytes", ""});
}

Outcome Transfer::Attempt() {
  std::string url = download_.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    Outcome outcome = Request(url);
    if (outcome.next != Next::kRedirect) return outcome;
    if (!IsFetchable(outcome.location)) {
      return {
          Next::kGiveUp,
          Sentence(ErrorCode::kInput, fmt::format("the server redirects to {}, which is not https", outcome.location)),
          "",
          {}};
    }
    url = std::move(outcome.location);
  }
  return {Next::kGiveUp, Sentence(ErrorCode::kInput, fmt::format("more than {} redirects", kMaxRedirects)), "", {}};
}

Outcome Transfer::Request(const std::string& url) {
  head_ = {};
  is_file_ = false;
  discarded_bytes_ = 0;
  // Each request has a handle of its own. libcurl before 8.1 keeps a pointer to the last header of the response before,
  // which is freed by then, and follows it where the next response begins with a continued header line.
  curl_.reset(curl_easy_init());
  MARLIN_CHECK(curl_ != nullptr, "libcurl has no memory for a handle");
  CURL* const curl = curl_.get();
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "metal-marlin");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, curl_message_.data());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(download_.connect_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(download_.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::HeaderCallback);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::BodyCallback);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::PollCallback);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
  // A proxy cannot reach this machine's loopback, and unencrypted traffic must not leave it.
  if (IsThisMachine(UrlPart(url, CURLUPART_HOST))) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");

  curl_slist* headers = nullptr;
  if (file_.size() > 0 && !file_.validator().empty()) {
    headers = curl_slist_append(headers, fmt::format("Range: bytes={}-", file_.size()).c_str());
    headers = curl_slist_append(headers, fmt::format("If-Range: {}", file_.validator()).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);

  if (error_) return {Next::kGiveUp, *error_, "", {}};
  if (Interrupted()) return {Next::kGiveUp, Sentence(ErrorCode::kInterrupted, "interrupted"), "", {}};
  if (code == CURLE_OK || discarded_bytes_ > kMaxErrorPage) return JudgeStatus(url);
  return JudgeFailure(url, code);
}

Outcome Transfer::JudgeFailure(const std::string& url, CURLcode code) {
  const std::string host = UrlPart(url, CURLUPART_HOST);
  const auto outcome = [&](Next next, std::string_view what) {
    return Outcome{next, Sentence(ErrorCode::kInput, what), "", {}};
  };
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return outcome(Next::kGiveUp, fmt::format("the name {} is not known here; is this machine online?", host));
    case CURLE_COULDNT_RESOLVE_PROXY:
      return outcome(Next::kGiveUp, "the name of the proxy is not known here; check https_proxy");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return outcome(Next::kGiveUp,
                     fmt::format("the certificate of {} is not accepted ({}); are ca-certificates installed, and "
                                 "is the clock right?",
                                 host, curl_message_.data()));
    case CURLE_OPERATION_TIMEDOUT:
      return outcome(Next::kAgain, fmt::format("{} does not answer, or sent nothing for {} s", host,
                                               download_.stall_timeout.count()));
    case CURLE_COULDNT_CONNECT:
      return outcome(Next::kAgain, fmt::format("cannot connect to {} ({})", host, curl_message_.data()));
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return outcome(Next::kAgain, fmt::format("the connection to {} was lost ({})", host, curl_message_.data()));
    case CURLE_BAD_FUNCTION_ARGUMENT:  // what libcurl says of a line that it cannot take apart
      return outcome(Next::kGiveUp, fmt::format("{} sends a header that is not HTTP", host));
    default:
      return outcome(Next::kGiveUp, curl_message_[0] != 0 ? curl_message_.data() : curl_easy_strerror(code));
  }
}

Outcome Transfer::JudgeStatus(const std::string& url) {
  const std::string host = UrlPart(url, CURLUPART_HOST);
  const auto outcome = [&](Next next, std::string_view what) {
    return Outcome{next, Sentence(ErrorCode::kInput, fmt::format("{} (HTTP {})", what, head_.status)), "", {}};
  };
  switch (head_.status) {
    case 200:
    case 206:
      if (is_file_ && (file_bytes_ == 0 || file_.size() == file_bytes_)) return {Next::kDone, {}, "", {}};
      [[fallthrough]];
    case 416: {  // the part does not fit to what the server has: from the beginning
      if (auto status = file_.Restart(""); !status) return {Next::kGiveUp, status.error(), "", {}};
      return outcome(Next::kAgain, fmt::format("{} does not continue the file where it was asked to", host));
    }
    case 301:
    case 302:
    case 303:
    case 307:
    case 308: {
      char* location = nullptr;
      curl_easy_getinfo(curl_.get(), CURLINFO_REDIRECT_URL, &location);
      if (location == nullptr) return outcome(Next::kGiveUp, fmt::format("{} redirects to nowhere", host));
      return {Next::kRedirect, {}, location, {}};
    }
    case 401:
    case 403:
      return outcome(Next::kGiveUp, fmt::format("{} asks for a login or denies access", host));
    case 404:
    case 410:
      return outcome(Next::kGiveUp, fmt::format("{} has no such file", host));
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: {
      curl_off_t seconds = 0;
      curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
      Outcome again = outcome(Next::kAgain, fmt::format("{} is busy or broken; try again later", host));
      again.pause = milliseconds{1000 * std::clamp<std::int64_t>(seconds, 0, kLongestPause.count() / 1000)};
      return again;
    }
    default:
      return outcome(Next::kGiveUp, fmt::format("{} gave an answer that is not a file", host));
  }
}

// False when interrupted.
bool Pause(milliseconds length) {
  const auto end = Clock::now() + length;
  while (Clock::now() < end && !Interrupted()) std::this_thread::sleep_for(milliseconds(20));
  return !Interrupted();
}

}  // namespace

bool IsFetchable(const std::string& url) {
  const std::string scheme = UrlPart(url, CURLUPART_SCHEME);
  const std::string host = UrlPart(url, CURLUPART_HOST);
  return !host.empty() && (scheme == "https" || (scheme == "http" && IsThisMachine(host)));
}

Status Fetch(const Download& download, const ProgressFn& progress) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  MARLIN_CHECK(initialized == CURLE_OK, "libcurl does not start");
  MARLIN_CHECK(download.attempts > 0 && download.max_bytes > 0, "a download needs an attempt and a limit");
  if (!IsFetchable(download.url)) {
    return Error{ErrorCode::kUsage, fmt::format("{} is not an https URL; http is only for this machine", download.url)};
  }
  auto file = PartialFile::Open(download.target, download.url);
  if (!file) return file.error();
  if (file->size() > download.max_bytes) {
    if (auto status = file->Restart(""); !status) return status;
  }
  Transfer transfer(download, progress, *file);
  milliseconds pause = download.first_pause;
  for (int attempt = 1;; ++attempt) {
    const Outcome outcome = transfer.Attempt();
    if (outcome.next == Next::kDone) break;
    if (outcome.next == Next::kGiveUp) return outcome.error;
    if (attempt == download.attempts) {
      return Error{outcome.error.code, fmt::format("{}; tried {} times", outcome.error.message, attempt)};
    }
    if (!Pause(std::max(pause, outcome.pause))) {
      return Error{ErrorCode::kInterrupted, fmt::format("cannot download {}: interrupted", download.url)};
    }
    pause *= 2;
  }
  if (progress) progress({download.stage, file->size(), file->size(), "bytes", ""});
  return file->Commit();
}

}  // namespace marlin
