// Files that the HTML page embeds. cmake/embedded_files.cmake puts them into the program.
#pragma once

#include <string_view>

namespace marlin {

std::string_view PageStyle();     // data/page/*.css
std::string_view PageScript();    // data/page/*.js, in their order
std::string_view ChartLibrary();  // Chart.js, minified, with its licence at its head

}  // namespace marlin
