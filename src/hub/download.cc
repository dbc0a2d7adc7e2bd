#include "hub/download.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "hub/partial_file.h"
#include "hub/response_head.h"

namespace marlin {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kMaxRedirects = 5;
constexpr milliseconds kLongestPause{60'000};     // what a server may ask for with Retry-After
constexpr std::uint64_t kMaxErrorPage = 1 << 20;  // of a page that is not the file and is not kept
constexpr milliseconds kProgressInterval{100};
constexpr std::uint64_t kGoodAttempt = 1 << 20;  // new bytes after which the count of attempts begins again

// How one request ended.
enum class Next { kDone, kRedirect, kAgain, kGiveUp };

struct Outcome {
  Next next = Next::kGiveUp;
  Error error;            // with kAgain and kGiveUp
  std::string location;   // with kRedirect
  milliseconds pause{0};  // with kAgain: what the server asks for
};

// Where the body of a response goes: into a file, which may be there in part, or into memory.
class Body {
 public:
  explicit Body(PartialFile& file) : file_(&file) {}
  explicit Body(std::string& text) : text_(&text) {}

  std::uint64_t size() const { return file_ != nullptr ? file_->size() : text_->size(); }
  const std::string& validator() const { return file_ != nullptr ? file_->validator() : validator_; }
  Status Restart(const std::string& validator) {
    if (file_ != nullptr) return file_->Restart(validator);
    text_->clear();
    validator_ = validator;
    return {};
  }
  Status Append(std::span<const std::uint8_t> bytes) {
    if (file_ != nullptr) return file_->Append(bytes);
    text_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }

 private:
  PartialFile* file_ = nullptr;
  std::string* text_ = nullptr;
  std::string validator_;  // of the text
};

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

// The requests of one download.
class Transfer {
 public:
  Transfer(const Download& download, const ProgressFn& progress, Body& file)
      : download_(download), progress_(progress), file_(file) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // From the first URL through its redirects to an end.
  Outcome Attempt();

 private:
  Outcome Request(const std::string& url);
  Outcome JudgeFailure(const std::string& url, CURLcode code);
  Outcome JudgeStatus(const std::string& url);
  Outcome JudgeRefusal(const std::string& host);
  Outcome JudgeBusy(const std::string& host);
  Error Sentence(ErrorCode code, std::string_view what) const {
    return {code, fmt::format("cannot download {}: {}", download_.url, what)};
  }
  std::uint64_t Limit() const { return download_.bytes.value_or(download_.max_bytes); }
  Error TooLong() const {
    return Sentence(ErrorCode::kInput, fmt::format("it is longer than the {} bytes that it {} have", Limit(),
                                                   download_.bytes ? "should" : "may"));
  }
  // Whether all of the file is there, as far as it can be told.
  bool IsWhole() const {
    return (file_bytes_ == 0 || file_.size() == file_bytes_) && file_.size() == download_.bytes.value_or(file_.size());
  }

  bool OnHeadComplete();
  bool OnBody(std::span<const std::uint8_t> bytes);
  void Report();
  static std::size_t HeaderCallback(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t BodyCallback(char* data, std::size_t, std::size_t size, void* self);
  static int PollCallback(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

  const Download& download_;
  const ProgressFn& progress_;
  Body& file_;
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
  if (is_file_ && file_bytes_ > Limit()) error_ = TooLong();
  return !error_;
}

bool Transfer::OnBody(std::span<const std::uint8_t> bytes) {
  if (!is_file_) {
    discarded_bytes_ += bytes.size();
    return discarded_bytes_ <= kMaxErrorPage;
  }
  if (bytes.size() > Limit() - std::min(Limit(), file_.size())) {
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
  if (file_.size() == file_bytes_) return;  // the last report is made by the caller
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
  if (IsThisMachine(HostOf(url))) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");

  curl_slist* headers = nullptr;
  if (file_.size() > 0 && !file_.validator().empty()) {
    headers = curl_slist_append(headers, fmt::format("Range: bytes={}-", file_.size()).c_str());
    headers = curl_slist_append(headers, fmt::format("If-Range: {}", file_.validator()).c_str());
  }
  if (!download_.authorization.empty() && SameServer(url, download_.url)) {
    headers = curl_slist_append(headers, ("Authorization: " + download_.authorization).c_str());
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
  const std::string host = HostOf(url);
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
  const std::string host = HostOf(url);
  const auto outcome = [&](Next next, std::string_view what) {
    return Outcome{next, Sentence(ErrorCode::kInput, fmt::format("{} (HTTP {})", what, head_.status)), "", {}};
  };
  switch (head_.status) {
    case 200:
    case 206:
      if (is_file_ && IsWhole()) return {Next::kDone, {}, "", {}};
      if (is_file_ && file_.size() < download_.bytes.value_or(0)) {
        return outcome(Next::kAgain, fmt::format("{} sent {} of {} bytes", host, file_.size(), *download_.bytes));
      }
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
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return JudgeBusy(host);
    default:
      return JudgeRefusal(host);
  }
}

Outcome Transfer::JudgeBusy(const std::string& host) {
  curl_off_t seconds = 0;
  curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
  std::string what = fmt::format("{} is busy or broken (HTTP {})", host, head_.status);
  if (seconds > 0) what += fmt::format(" and asks to wait {} s", seconds);
  const milliseconds pause{1000 * std::clamp<std::int64_t>(seconds, 0, kLongestPause.count() / 1000)};
  return {Next::kAgain, Sentence(ErrorCode::kInput, what), "", pause};
}

Outcome Transfer::JudgeRefusal(const std::string& host) {
  std::string what;
  if (download_.explain) what = download_.explain({head_.status, host, head_.error_code});
  if (!what.empty()) return {Next::kGiveUp, Error{ErrorCode::kInput, what}, "", {}};
  switch (head_.status) {
    case 401:
    case 403:
      what = "asks for a login or denies access";
      break;
    case 404:
    case 410:
      what = "has no such file";
      break;
    default:
      what = "gave an answer that is not a file";
  }
  return {Next::kGiveUp, Sentence(ErrorCode::kInput, fmt::format("{} {} (HTTP {})", host, what, head_.status)), "", {}};
}

// False when interrupted.
bool Pause(milliseconds length) {
  const auto end = Clock::now() + length;
  while (Clock::now() < end && !Interrupted()) std::this_thread::sleep_for(milliseconds(20));
  return !Interrupted();
}

std::string Seconds(milliseconds length) { return fmt::format("{:.3g} s", static_cast<double>(length.count()) / 1000); }

// Attempts until one succeeds or enough failed.
Status FetchInto(const Download& download, Body& body, const ProgressFn& progress) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  MARLIN_CHECK(initialized == CURLE_OK, "libcurl does not start");
  Transfer transfer(download, progress, body);
  milliseconds pause = download.first_pause;
  std::uint64_t most = body.size();
  for (int attempt = 1;; ++attempt) {
    const Outcome outcome = transfer.Attempt();
    if (outcome.next == Next::kDone) return {};
    if (outcome.next == Next::kGiveUp) return outcome.error;
    if (body.size() > most + kGoodAttempt) {
      most = body.size();
      pause = download.first_pause;
      attempt = 1;
    }
    if (attempt == download.attempts) {
      return Error{outcome.error.code, fmt::format("{}; tried {} times", outcome.error.message, attempt)};
    }
    const milliseconds wait = std::max(pause, outcome.pause);
    if (download.say) download.say(fmt::format("{}; trying again in {}", outcome.error.message, Seconds(wait)));
    if (!Pause(wait)) {
      return Error{ErrorCode::kInterrupted, fmt::format("cannot download {}: interrupted", download.url)};
    }
    pause *= 2;
  }
}

Status CheckDownload(const Download& download) {
  MARLIN_CHECK(download.attempts > 0 && download.max_bytes > 0, "a download needs an attempt and a limit");
  if (IsFetchable(download.url)) return {};
  return Error{ErrorCode::kUsage, fmt::format("{} is not an https URL; http is only for this machine", download.url)};
}

}  // namespace

Status Fetch(const Download& download, const ProgressFn& progress) {
  if (auto status = CheckDownload(download); !status) return status;
  const std::filesystem::path partial =
      download.partial.empty() ? std::filesystem::path(download.target.string() + ".part") : download.partial;
  auto file = PartialFile::Open(download.target, partial, download.origin.empty() ? download.url : download.origin);
  if (!file) return file.error();
  if (file->size() > download.bytes.value_or(download.max_bytes)) {
    if (auto status = file->Restart(""); !status) return status;
  }
  // A run may have been killed between the last byte and the new name.
  if (file->size() == 0 || file->size() != download.bytes) {
    Body body(*file);
    if (auto status = FetchInto(download, body, progress); !status) return status;
  }
  if (progress) progress({download.stage, file->size(), file->size(), "bytes", ""});
  if (download.check) {
    Status checked = download.check(file->path());
    if (!checked && checked.error().code == ErrorCode::kCorrupt) {
      if (auto status = file->Restart(""); !status) return status;
    }
    if (!checked) return checked;
  }
  return file->Commit();
}

Result<std::string> FetchText(const Download& download) {
  if (auto status = CheckDownload(download); !status) return status.error();
  std::string text;
  Body body(text);
  if (auto status = FetchInto(download, body, {}); !status) return status.error();
  return text;
}

}  // namespace marlin
