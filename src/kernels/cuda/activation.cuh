// The activations of backend.h.
#pragma once

#include "kernels/backend.h"

namespace marlin::cuda {

struct Silu {
  __device__ float operator()(float x) const { return x / (1 + expf(-x)); }
};
struct Gelu {
  // In double: the functions of float are several units off where x is far below 0.
  __device__ float operator()(float x) const { return static_cast<float>(normcdf(static_cast<double>(x)) * x); }
};
struct GeluTanh {
  __device__ float operator()(float x) const {
    return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  }
};

// Calls `with` with the function.
template <class With>
void WithActivation(Activation activation, With with) {
  switch (activation) {
    case Activation::kSilu:
      return with(Silu());
    case Activation::kGelu:
      return with(Gelu());
    case Activation::kGeluTanh:
      return with(GeluTanh());
  }
}

}  // namespace marlin::cuda
