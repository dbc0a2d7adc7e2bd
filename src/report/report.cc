#include "report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "records/analysis.h"
#include "report/html_page.h"
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
  std::string stem;  // NAME, or NAME-2 for its second page
  const Plot* plot;
  PictureType type;
  Figure figure;
  std::string bytes{};  // empty = not drawn

  std::string file() const { return stem + (type == PictureType::kPng ? ".png" : ".svg"); }
};

// Taller pictures are cut into pages by models. Twice as much is near the limit of gnuplot's PNG, whose pixels are
// half of these.
constexpr int kTallestPage_px = 6000;
constexpr int kTallestPicture_px = 14000;

// The figure of these models, on as many pages as it needs.
std::vector<Figure> PagesOf(const Plot& plot, const Analysis& analysis) {
  std::optional<Figure> whole = plot.figure(analysis);
  if (!whole) return {};
  const std::size_t models = analysis.models.size();
  if (whole->height_px <= kTallestPage_px || models < 2) return {std::move(*whole)};
  const auto wanted = static_cast<std::size_t>(whole->height_px / kTallestPage_px) + 1;
  const std::size_t pages = std::min(wanted, models);
  std::vector<Figure> figures;
  for (std::size_t page = 0; page < pages; ++page) {
    Analysis part = analysis;  // types and methods look the same on every page
    part.models.assign(analysis.models.begin() + static_cast<std::ptrdiff_t>(models * page / pages),
                       analysis.models.begin() + static_cast<std::ptrdiff_t>(models * (page + 1) / pages));
    for (Figure& figure : PagesOf(plot, part)) figures.push_back(std::move(figure));
  }
  return figures;
}

std::string PageStem(const Plot& plot, std::size_t page) {
  return page == 0 ? std::string(plot.name) : fmt::format("{}-{}", plot.name, page + 1);
}

std::vector<Picture> ListPictures(const Analysis& analysis) {
  std::vector<Picture> pictures;
  for (const Plot& plot : Plots()) {
    std::vector<Figure> pages = PagesOf(plot, analysis);
    for (std::size_t i = 0; i < pages.size(); ++i) {
      pictures.push_back({PageStem(plot, i), &plot, PictureType::kPng, pages[i]});
      pictures.push_back({PageStem(plot, i), &plot, PictureType::kSvg, std::move(pages[i])});
    }
  }
  return pictures;
}

Status Draw(Picture& picture, const ReportOptions& options) {
  if (!options.why_no_plots.empty()) return Error{ErrorCode::kUnsupported, options.why_no_plots};
  if (picture.figure.height_px > kTallestPicture_px) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("there is too much to draw for one model: {} pixels of height, {} at most",
                             picture.figure.height_px, kTallestPicture_px)};
  }
  Result<std::string> drawn = DrawFigure(picture.figure, picture.type, options.gnuplot);
  if (!drawn) return drawn.error();
  picture.bytes = std::move(*drawn);
  return {};
}

// By name of the plot.
using Failures = std::map<std::string, std::string>;

// Fills in the bytes. A plot with a page that cannot be drawn is left out whole. Errors: kInterrupted.
Result<Failures> DrawAll(std::vector<Picture>& pictures, const ReportOptions& options) {
  Failures failures;
  for (Picture& picture : pictures) {
    if (failures.contains(picture.plot->name)) continue;
    const Status drawn = Draw(picture, options);
    if (!drawn && drawn.error().code == ErrorCode::kInterrupted) return drawn.error();
    if (!drawn) failures[picture.plot->name] = drawn.error().message;
  }
  for (Picture& picture : pictures) {
    if (failures.contains(picture.plot->name)) picture.bytes.clear();
  }
  return failures;
}

// One sentence where all plots share their reason, as where gnuplot is missing; else one for each.
std::vector<std::string> Warnings(const std::vector<Picture>& pictures, const Failures& failures) {
  std::set<std::string> plots;
  std::set<std::string> reasons;
  for (const Picture& picture : pictures) plots.insert(picture.plot->name);
  for (const auto& [name, why] : failures) reasons.insert(why);
  if (reasons.size() == 1 && failures.size() == plots.size()) {
    return {"the plots are not drawn: " + failures.begin()->second};
  }
  std::vector<std::string> warnings;
  for (const auto& [name, why] : failures) warnings.push_back(fmt::format("the plot {} is not drawn: {}", name, why));
  return warnings;
}

// Old pictures that do not belong to the page: of plots that are not drawn, and pages that are no longer needed.
void RemoveOthers(const fs::path& folder, const std::set<std::string>& drawn) {
  for (const Plot& plot : Plots()) {
    for (std::size_t page = 0;; ++page) {
      const std::string stem = PageStem(plot, page);
      if (drawn.contains(stem)) continue;
      bool any = false;
      std::error_code ignored;  // one that stays is not shown by the page
      for (const char* ending : {".png", ".svg"}) any |= fs::remove(folder / (stem + ending), ignored);
      if (!any && page > 0) break;
    }
  }
}

}  // namespace

namespace {

PageOptions PageOptionsOf(const ReportOptions& options, const std::vector<Picture>& pictures, Failures failures) {
  PageOptions page;
  page.sort = options.sort;
  page.commands = options.commands;
  page.records_link = options.records_link;
  page.external = options.external;
  page.left_out = options.left_out;
  page.how_to_make = options.how_to_make;
  page.methods = options.methods;
  page.why_not_drawn = std::move(failures);
  for (const Picture& picture : pictures) {
    if (!picture.bytes.empty()) page.plots.insert(picture.stem);
  }
  return page;
}

// Its charts need no gnuplot.
std::string HtmlOf(const Analysis& analysis, PageOptions page, const std::vector<Picture>& pictures) {
  page.why_not_drawn.clear();
  for (const Picture& picture : pictures) page.plots.insert(picture.stem);
  return RenderHtmlPage(analysis, page);
}

}  // namespace

Result<ReportOutput> GenerateReport(const Analysis& analysis, const ReportOptions& options) {
  const fs::path path = options.output / "RESULTS.md";
  const fs::path html = options.output / "index.html";
  for (const fs::path& page : {path, html}) {
    if (Status ours = CheckPage(page); !ours.ok()) return ours.error();
  }
  std::vector<Picture> pictures = ListPictures(analysis);
  const Result<Failures> failures = DrawAll(pictures, options);
  if (!failures) return failures.error();
  ReportOutput output;
  output.warnings = Warnings(pictures, *failures);

  const PageOptions page = PageOptionsOf(options, pictures, *failures);
  const fs::path plots = options.output / "plots";
  if (Status made = MakeFolder(page.plots.empty() ? options.output : plots); !made.ok()) {
    return made.error();
  }
  // Plots first: a page never shows pictures that are not there.
  std::vector<fs::path> drawn;
  for (const Picture& picture : pictures) {
    const fs::path file = plots / picture.file();
    if (picture.bytes.empty()) continue;
    if (Status written = WriteFileAtomic(file, picture.bytes); !written.ok()) return written.error();
    drawn.push_back(file);
  }
  if (Status written = WriteFileAtomic(path, RenderPage(analysis, page)); !written.ok()) return written.error();
  if (Status written = WriteFileAtomic(html, HtmlOf(analysis, page, pictures)); !written.ok()) return written.error();
  RemoveOthers(plots, page.plots);
  output.files = {path, html};
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
