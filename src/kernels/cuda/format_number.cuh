// Kernels for every format that has groups. nvcc cannot name a kernel by the type of a format, so they are named by its
// place in the list.
#pragma once

#include <utility>

#include "base/check.h"
#include "formats/formats.h"

namespace marlin::cuda {

template <std::size_t kNumber>
using FormatAt = AllFormats::At<kNumber>;

// Calls launch(std::integral_constant) with the place of a format that has groups.
template <class Launch>
void WithFormatNumber(const FormatInfo& format, Launch launch) {
  const auto launch_if = [&]<std::size_t kNumber>(std::integral_constant<std::size_t, kNumber> number) {
    if constexpr (HasGroups(FormatAt<kNumber>::kInfo)) {
      if (FormatAt<kNumber>::kInfo.id != format.id) return false;
      launch(number);
      return true;
    }
    return false;
  };
  const bool found = [&]<std::size_t... kNumbers>(std::index_sequence<kNumbers...>) {
    return (launch_if(std::integral_constant<std::size_t, kNumbers>()) || ...);
  }
  (std::make_index_sequence<AllFormats::kSize>());
  MARLIN_CHECK(found, "a format with groups");
}

}  // namespace marlin::cuda
