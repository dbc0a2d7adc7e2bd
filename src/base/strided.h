// Elements of a vector that lie some places apart.
#pragma once

#include <cstddef>

namespace marlin {

template <class T>
struct Strided {
  T* data = nullptr;
  std::size_t stride = 1;
  constexpr T& operator[](std::size_t i) const { return data[i * stride]; }
};

}  // namespace marlin
