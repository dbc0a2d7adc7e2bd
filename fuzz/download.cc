// What a server answers: responses one after the other, separated by a line "====". A download that fails is tried
// twice more while there are responses, and so continued or begun again.
#include "hub/download.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "fuzz/files.h"
#include "fuzz/target_list.h"

namespace marlin {
namespace {

constexpr std::string_view kSeparator = "\n====\n";

// A server that says what it has to say at once and listens to nobody.
class Responses {
 public:
  explicit Responses(std::string_view text) : rest_(text) { current_ = this; }
  Responses(const Responses&) = delete;
  Responses& operator=(const Responses&) = delete;
  ~Responses() {
    current_ = nullptr;
    for (const int end : ends_) ::close(end);
  }
  // The one whose turn it is; null between inputs.
  static Responses* current() { return current_; }

  bool any_left() const { return !done_; }

  // Makes `socket` one from which the next response can be read. False after the last.
  bool Connect(int socket) {
    int pair[2];
    if (done_ || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) return false;
    const std::size_t end = rest_.find(kSeparator);
    const std::string_view response = rest_.substr(0, end);
    done_ = end == std::string_view::npos;
    if (!done_) rest_.remove_prefix(end + kSeparator.size());
    ends_.push_back(pair[1]);
    // What does not fit into the socket's buffer is lost, as on a connection that breaks.
    if (::send(pair[1], response.data(), response.size(), MSG_NOSIGNAL) >= 0) ::shutdown(pair[1], SHUT_WR);
    const bool replaced = ::dup3(pair[0], socket, O_CLOEXEC) == socket;
    ::close(pair[0]);
    return replaced;
  }

 private:
  inline static Responses* current_ = nullptr;
  std::string_view rest_;
  bool done_ = false;
  std::vector<int> ends_;
};

// A redirect to another https host must not reach the network: its proxy is the responses too.
bool StayHere() {
  ::unsetenv("no_proxy");
  ::unsetenv("NO_PROXY");
  return ::setenv("https_proxy", "http://127.0.0.1:1", 1) == 0;
}

}  // namespace

Status FuzzDownload(FuzzInput input) {
  namespace fs = std::filesystem;
  static const bool stays_here = StayHere();
  static const FuzzFolder folder;
  MARLIN_CHECK(stays_here, "the environment can be changed");
  const fs::path target = folder.path() / "file";
  for (const char* ending : {"", ".part", ".part.from"}) fs::remove(target.string() + ending);

  Responses responses(FuzzText(input));
  Download download;
  download.url = "http://127.0.0.1/file";
  download.target = target;
  download.max_bytes = 1 << 16;
  download.attempts = 1;
  download.stall_timeout = std::chrono::seconds(2);
  Status status;
  for (int i = 0; i < 3 && responses.any_left(); ++i) {
    status = Fetch(download, {});
    MARLIN_CHECK(status.ok() || status.error().code == ErrorCode::kInput, "the server is to blame");
    MARLIN_CHECK(fs::exists(target) == status.ok(), "the target appears when all is well, and only then");
    const fs::path file = status.ok() ? target : fs::path(target.string() + ".part");
    MARLIN_CHECK(!fs::exists(file) || fs::file_size(file) <= download.max_bytes, "no more than was allowed");
    if (status.ok()) break;
  }
  MARLIN_CHECK(!status.ok() || folder.files() == 1, "nothing else is left behind");
  return status;
}

}  // namespace marlin

// In place of the C library's: libcurl connects to the responses instead of the network.
extern "C" int connect(int socket, const sockaddr*, socklen_t) {
  if (marlin::Responses* responses = marlin::Responses::current()) {
    if (responses->Connect(socket)) return 0;
  }
  errno = ECONNREFUSED;
  return -1;
}
