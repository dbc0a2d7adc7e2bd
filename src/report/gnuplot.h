// gnuplot as a drawing program: a script in, a picture out. No shell, no file names in scripts, no user settings.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

// A figure without its terminal, so that it can be drawn as PNG and as SVG.
struct Figure {
  int width_px = 0;
  int height_px = 0;
  std::string script;
};

enum class PictureType { kPng, kSvg };

// Draws the figure and returns the bytes of the picture. A PNG has twice the pixels, for sharp screens. `program` is a
// path or a name that $PATH knows. Errors: kUnsupported when there is no such program or it cannot draw this type,
// kResource when there is no room for temporary files.
Result<std::string> DrawFigure(const Figure& figure, PictureType type, const std::string& program);

// A text as a gnuplot string that nothing in it can end or expand.
std::string GnuplotString(std::string_view text);

// Size of the letters of every figure.
inline constexpr double kFontPx = 12;

}  // namespace marlin
