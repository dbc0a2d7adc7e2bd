#include "cli/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace marlin {
namespace {

void Print(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fputc('\n', file);
  std::fflush(file);
}

std::size_t TerminalWidth() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

}  // namespace

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
  Print(stdout, text);
}

void Console::Detail(std::string_view text) {
  if (verbosity_ != Verbosity::kVerbose) return;
  EndProgress();
  Print(stderr, text);
}

void Console::Warn(std::string_view text) {
  EndProgress();
  Print(stderr, fmt::format("metal-marlin: warning: {}", text));
}

void Console::Fail(const Error& error) {
  EndProgress();
  Print(stderr, fmt::format("metal-marlin: {}", error.message));
}

void Console::Data(const nlohmann::json& document) {
  EndProgress();
  if (json_) Print(stdout, document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void Console::Result(std::string_view text) {
  EndProgress();
  if (!json_) Print(stdout, text);
}

void Console::Raw(std::string_view text) {
  if (json_) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Status Console::Finish() {
  EndProgress();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return Error{ErrorCode::kResource, "cannot write to standard output: the disk is full"};
  }
  return {};
}

ProgressFn Console::progress() {
  if (verbosity_ == Verbosity::kQuiet) return {};
  return [this](const Progress& progress) { Draw(progress); };
}

void Console::EndProgress() {
  if (bar_open_) std::fputs("\r\033[K", stderr);
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
    Print(stderr, text);
    return;
  }
  const std::size_t width = TerminalWidth() - 1;
  if (progress.total > 0 && text.size() + 24 < width) {
    const std::size_t filled = static_cast<std::size_t>(20 * progress.done / progress.total);
    text = fmt::format("[{}{}] {}", std::string(std::min<std::size_t>(filled, 20), '#'),
                       std::string(20 - std::min<std::size_t>(filled, 20), '.'), text);
  }
  std::fputs(fmt::format("\r\033[K{}", text.substr(0, width)).c_str(), stderr);
  std::fflush(stderr);
  bar_open_ = true;
}

}  // namespace marlin
