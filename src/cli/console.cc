#include "cli/console.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

namespace marlin {
namespace {

// Why writing to standard output failed first; 0 = it did not.
int g_output_error = 0;

// Waits in small steps until the stream takes bytes. False when it does not and the program was interrupted: a reader
// that stopped must not keep the program alive.
bool WaitUntilWritable(int fd) {
  constexpr int kStep_ms = 100;
  for (;;) {
    pollfd state{fd, POLLOUT, 0};
    const int ready = ::poll(&state, 1, kStep_ms);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // errors show when it is written
    if (Interrupted()) {
      errno = EINTR;
      return false;
    }
  }
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    if (!WaitUntilWritable(fd)) return false;
    // A pipe that is ready takes this many bytes at once.
    const ssize_t n = ::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void Write(int fd, std::string_view text) {
  if (fd == STDOUT_FILENO && g_output_error != 0) return;
  if (!WriteAll(fd, text) && fd == STDOUT_FILENO) g_output_error = errno;
}

void Print(int fd, std::string_view text) { Write(fd, std::string(text) + "\n"); }

std::size_t TerminalWidth() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

}  // namespace

std::string CountText(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string FormatBytes(double bytes) {
  if (bytes < 1000) return fmt::format("{:.0f} bytes", bytes);
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  if (bytes < 1e9) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<long>(std::llround(std::max(seconds, 0.0)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

Console::Console(Verbosity verbosity, bool json)
    : verbosity_(verbosity), json_(json), terminal_(::isatty(STDERR_FILENO) == 1) {}

void Console::Say(std::string_view text) {
  if (json_ || verbosity_ == Verbosity::kQuiet) return;
  EndProgress();
  Print(STDOUT_FILENO, text);
}

void Console::Detail(std::string_view text) {
  if (verbosity_ != Verbosity::kVerbose) return;
  EndProgress();
  Print(STDERR_FILENO, text);
}

void Console::Warn(std::string_view text) {
  EndProgress();
  Print(STDERR_FILENO, fmt::format("metal-marlin: warning: {}", text));
}

void Console::Fail(const Error& error) {
  EndProgress();
  Print(STDERR_FILENO, fmt::format("metal-marlin: {}", error.message));
}

void Console::Data(const nlohmann::json& document) {
  EndProgress();
  if (json_) Print(STDOUT_FILENO, document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void Console::Result(std::string_view text) {
  EndProgress();
  if (!json_) Print(STDOUT_FILENO, text);
}

void Console::Raw(std::string_view text) {
  if (!json_) Write(STDOUT_FILENO, text);
}

Status Console::Finish() {
  EndProgress();
  const int code = g_output_error;
  if (code == 0) return {};
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while writing to standard output"};
  if (code == EBADF) {
    return Error{ErrorCode::kFailure,
                 "cannot write to standard output: it is closed; send it to a file or to /dev/null"};
  }
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  return Error{full ? ErrorCode::kResource : ErrorCode::kFailure,
               fmt::format("cannot write to standard output: {}", std::strerror(code))};
}

ProgressFn Console::progress() {
  if (verbosity_ == Verbosity::kQuiet) return {};
  return [this](const Progress& progress) { Draw(progress); };
}

void Console::EndProgress() {
  if (bar_open_) Write(STDERR_FILENO, "\r\033[K");
  bar_open_ = false;
}

std::string Console::Describe(const Progress& progress) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - stage_start_).count();
  const bool bytes = progress.unit == "bytes";
  const auto count = [&](std::uint64_t value) {
    return bytes ? FormatBytes(static_cast<double>(value)) : fmt::format("{}", value);
  };
  std::string text = fmt::format("{}: {}", progress.stage, count(progress.done));
  if (progress.total > 0) text += fmt::format("/{}", count(progress.total));
  if (!bytes) text += " " + progress.unit;
  const double moved = static_cast<double>(progress.done) - static_cast<double>(stage_first_);
  if (moved > 0 && elapsed > 0.5) {
    const double rate = moved / elapsed;
    text += bytes ? fmt::format(", {}/s", FormatBytes(rate)) : fmt::format(", {:.3g}/s", rate);
    if (progress.total > progress.done) {
      text += fmt::format(", {} left",
                          FormatDuration(static_cast<double>(progress.total - progress.done) * elapsed / moved));
    }
  }
  if (!progress.note.empty()) text += ", " + progress.note;
  return text;
}

void Console::Draw(const Progress& progress) {
  const auto now = Clock::now();
  const bool new_stage = progress.stage != stage_;
  if (new_stage) {
    stage_ = progress.stage;
    stage_start_ = now;
    stage_first_ = progress.done;
    last_draw_ = now;
  }
  const bool last = progress.total > 0 && progress.done >= progress.total;
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000);
  if (!last && now - last_draw_ < pause) return;
  last_draw_ = now;
  std::string text = Describe(progress);
  if (!terminal_) {
    Print(STDERR_FILENO, text);
    return;
  }
  const std::size_t width = TerminalWidth() - 1;
  if (progress.total > 0 && text.size() + 24 < width) {
    const std::size_t filled = static_cast<std::size_t>(20 * progress.done / progress.total);
    text = fmt::format("[{}{}] {}", std::string(std::min<std::size_t>(filled, 20), '#'),
                       std::string(20 - std::min<std::size_t>(filled, 20), '.'), text);
  }
  Write(STDERR_FILENO, fmt::format("\r\033[K{}", text.substr(0, width)));
  bar_open_ = true;
}

}  // namespace marlin
