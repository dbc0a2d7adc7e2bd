#include "report/gnuplot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/progress.h"
#include "report/table.h"

extern char** environ;  // POSIX declares it nowhere

namespace marlin {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

std::string Contents(std::FILE* file) {
  std::string text;
  std::array<char, 1 << 14> buffer;
  std::rewind(file);
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file)) text.append(buffer.data(), count);
  return text;
}

// The caller's environment without what changes how gnuplot draws.
std::vector<std::string> CleanEnvironment() {
  std::vector<std::string> kept;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("LC_") && !text.starts_with("LANG") && !text.starts_with("GNU")) kept.emplace_back(text);
  }
  kept.emplace_back("LC_ALL=C");
  return kept;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs the program with the three files as its streams; the files, unlike pipes, cannot fill up or break. Returns the
// exit status, or -1 with errno when it could not be started.
int RunWithFiles(const std::string& program, std::FILE* in, std::FILE* out, std::FILE* err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(in), 0);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(out), 1);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(err), 2);
  // Without the user's and the system's settings; "-" reads the script from the standard input.
  std::vector<std::string> arguments = {program, "-d", "-"};
  std::vector<std::string> environment = CleanEnvironment();
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, program.c_str(), &actions, nullptr, Pointers(arguments).data(),
                                    Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    errno = failed;
    return -1;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
    if (Interrupted()) ::kill(child, SIGTERM);
  }
  return status;
}

std::string Terminal(const Figure& figure, PictureType type) {
  // pngcairo counts letters in points of 1/96 inch x 4/3, svg in pixels.
  if (type == PictureType::kSvg) {
    return fmt::format("set terminal svg size {},{} font 'DejaVu Sans,{}' background rgb 'white' noenhanced\n",
                       figure.width_px, figure.height_px, kFontPx);
  }
  return fmt::format(
      "set terminal pngcairo size {},{} font 'DejaVu Sans,{}' fontscale 2 linewidth 2 pointscale 2 "
      "background rgb 'white' noenhanced\n",
      2 * figure.width_px, 2 * figure.height_px, kFontPx * 0.75);
}

bool IsWhole(const std::string& picture, PictureType type) {
  if (type == PictureType::kSvg) return picture.find("</svg>") != std::string::npos;
  return picture.starts_with("\x89PNG") && picture.find("IEND") != std::string::npos;
}

}  // namespace

Result<std::string> DrawFigure(const Figure& figure, PictureType type, const std::string& program) {
  const TemporaryFile in(std::tmpfile());
  const TemporaryFile out(std::tmpfile());
  const TemporaryFile err(std::tmpfile());
  const std::string script = "set encoding utf8\n" + Terminal(figure, type) + figure.script;
  if (!in || !out || !err || std::fwrite(script.data(), 1, script.size(), in.get()) != script.size() ||
      std::fflush(in.get()) != 0) {
    return Error{ErrorCode::kResource, fmt::format("no room for gnuplot's temporary files: {}", std::strerror(errno))};
  }
  std::rewind(in.get());
  const int status = RunWithFiles(program, in.get(), out.get(), err.get());
  if (status == -1) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{} cannot be started ({}); install gnuplot (Debian and Ubuntu: gnuplot-nox) and make the "
                             "report again",
                             program, std::strerror(errno))};
  }
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while gnuplot was drawing"};
  std::string picture = Contents(out.get());
  if (status != 0 || !IsWhole(picture, type)) {
    const std::string words = OneLine(Contents(err.get()));
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{} drew no {}: {}", program, type == PictureType::kPng ? "PNG" : "SVG",
                             words.empty() ? "it gave no reason" : words.substr(0, 300))};
  }
  return picture;
}

std::string GnuplotString(std::string_view text) {
  std::string out = "'";
  for (const char c : OneLine(text)) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

}  // namespace marlin
