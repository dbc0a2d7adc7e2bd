#include "report/html_page.h"

#include <fmt/format.h>

#include "report/html.h"
#include "report/page_assets.h"
#include "report/page_data.h"

namespace marlin {
namespace {

// Nothing may be loaded from anywhere, whatever a record holds.
constexpr const char* kPolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "base-uri 'none'";

}  // namespace

std::string RenderHtmlPage(const Analysis& analysis, const PageOptions& options) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"generator\" content=\"{} by metal-marlin report generate\">\n"
      "<title>{}</title>\n<style>\n",
      kPolicy, kGenerated, kPageTitle);
  page += PageStyle();
  page += "</style>\n</head>\n<body>\n<main>\n";
  page += ToHtml(BuildPage(analysis, options));
  page += "</main>\n<script type=\"application/json\" id=\"data\">";
  page += PageData(analysis);
  page += "</script>\n<script>\n";
  page += ChartLibrary();
  page += "</script>\n<script>\n";
  page += PageScript();
  page += "</script>\n</body>\n</html>\n";
  return page;
}

}  // namespace marlin
