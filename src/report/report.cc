#include "report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "report/analysis.h"
#include "report/page.h"
#include "report/plots.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

Status MakeFolder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (!code) return {};
  return Error{ErrorCode::kInput, fmt::format("cannot make the folder {}: {}", folder.string(), code.message())};
}

// Checks that the page replaces only a page.
Status CheckPage(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  constexpr std::size_t kMostBytes = std::size_t{1} << 28;
  const auto old = ReadFile(path, kMostBytes);
  if (old && old->find(kGenerated) != std::string::npos) return {};
  return Error{ErrorCode::kInput, fmt::format("{} was not made by report generate and is left alone; move it away, or "
                                              "give the report another folder with -o",
                                              path.string())};
}

struct Picture {
  std::string file;
  const Plot* plot;
  PictureType type;
  std::optional<Figure> figure;
  std::string bytes;  // empty = not drawn
};

std::vector<Picture> ListPictures(const Analysis& analysis) {
  std::vector<Picture> pictures;
  for (const Plot& plot : Plots()) {
    const std::optional<Figure> figure = plot.figure(analysis);
    pictures.push_back({fmt::format("{}.png", plot.name), &plot, PictureType::kPng, figure, {}});
    pictures.push_back({fmt::format("{}.svg", plot.name), &plot, PictureType::kSvg, figure, {}});
  }
  return pictures;
}

// Fills in the bytes; on the first failure says why and draws no more.
std::string DrawAll(std::vector<Picture>& pictures, const std::string& gnuplot) {
  for (Picture& picture : pictures) {
    if (!picture.figure) continue;
    Result<std::string> drawn = DrawFigure(*picture.figure, picture.type, gnuplot);
    if (!drawn) {
      for (Picture& other : pictures) other.bytes.clear();
      return drawn.error().message;
    }
    picture.bytes = std::move(*drawn);
  }
  return "";
}

}  // namespace

Result<ReportOutput> GenerateReport(std::span<const StoredRecord> records, const ReportOptions& options) {
  const fs::path path = options.output / "RESULTS.md";
  if (Status ours = CheckPage(path); !ours.ok()) return ours.error();
  const Analysis analysis = Analyze(records);
  std::vector<Picture> pictures = ListPictures(analysis);
  const std::string why_no_plots = DrawAll(pictures, options.gnuplot);
  ReportOutput output;
  if (!why_no_plots.empty()) output.warnings.push_back("the plots are not drawn: " + why_no_plots);

  PageOptions page;
  page.commands = options.commands;
  page.records_link = options.records_link;
  page.left_out = options.left_out;
  page.why_no_plots = why_no_plots;
  for (const Picture& picture : pictures) {
    if (!picture.bytes.empty()) page.plots.insert(picture.plot->name);
  }

  const fs::path plots = options.output / "plots";
  if (Status made = MakeFolder(page.plots.empty() ? options.output : plots); !made.ok()) {
    return made.error();
  }
  // Plots first: a page never shows pictures that are not there.
  std::vector<fs::path> drawn;
  for (const Picture& picture : pictures) {
    const fs::path file = plots / picture.file;
    if (picture.bytes.empty()) continue;
    if (Status written = WriteFileAtomic(file, picture.bytes); !written.ok()) return written.error();
    drawn.push_back(file);
  }
  if (Status written = WriteFileAtomic(path, RenderPage(analysis, page)); !written.ok()) return written.error();
  for (const Picture& picture : pictures) {
    std::error_code ignored;  // an old plot that stays is not shown by the page
    if (picture.bytes.empty()) fs::remove(plots / picture.file, ignored);
  }
  output.files = {path};
  output.files.insert(output.files.end(), drawn.begin(), drawn.end());
  return output;
}

std::string RecordsLink(const fs::path& records, const fs::path& page) {
  std::error_code code;
  // Made absolute first: weakly_canonical leaves a path relative whose first folder does not exist yet.
  const auto canonical = [&code](const fs::path& path) {
    const fs::path absolute = fs::absolute(path.empty() ? "." : path, code);
    return code ? fs::path() : fs::weakly_canonical(absolute, code);
  };
  const fs::path from = canonical(page);
  if (code) return "";
  const fs::path to = canonical(records);
  if (code) return "";
  const std::string link = to.lexically_relative(from).generic_string();
  if (link.empty() || link == ".") return "";
  return link.ends_with('/') ? link : link + "/";
}

}  // namespace marlin
