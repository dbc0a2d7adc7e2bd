// Overlap of two texts. A model must not be calibrated on the text that it is measured on.
#pragma once

#include <cstddef>
#include <string_view>

namespace marlin {

inline constexpr std::size_t kOverlapWords =
    13;                                      // as the GPT-3 paper counts contamination (arXiv 2005.14165, appendix C)
inline constexpr double kMaxOverlap = 0.01;  // above it a calibration is refused

// The share of the runs of 13 words of one text that are also in the other: the greater of the two shares, 0..1. White
// space separates words; a text shorter than 13 words shares nothing.
double TextOverlap(std::string_view a, std::string_view b);

}  // namespace marlin
