// The text of data/sample/sample.txt, put into the program by cmake/embedded_files.cmake.
#pragma once

#include <string_view>

namespace marlin {

std::string_view SampleText();

}  // namespace marlin
