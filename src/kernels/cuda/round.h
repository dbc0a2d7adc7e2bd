// Activations rounded to fp16 for products: what round.cu defines.
//
// Each token is divided by a power of two, so that its largest number is below 2^15: no number overflows, and the
// relative error of a number is at most 2^-11 unless it is below 2^-29 of the largest.
#pragma once

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// Where rounded tokens go: as few.h wants at most 16 of them, or as halves.h wants any number.
struct Rounded {
  void* halves = nullptr;
  float* powers = nullptr;  // [tokens]: what each token was divided by
  bool few = false;
};

void RoundTokens(View<const float> x, const Rounded& to, cudaStream_t stream);

// The same of the norm of x, which also goes to y.
void NormalizeTokens(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
                     View<float> y, const Rounded& to, cudaStream_t stream);

// What the products of a gate and of its factor still lack: number = sum * powers[token] * power + bias.
struct PendingScale {
  const float* powers = nullptr;  // null: nothing
  float gate_power = 1, factor_power = 1;
  const float* gate_bias = nullptr;    // null: none
  const float* factor_bias = nullptr;  // null: none
};

// The same of gate = activation(gate) * factor.
void ActivateTokens(Activation activation, View<float> gate, View<const float> factor, const PendingScale& pending,
                    const Rounded& to, cudaStream_t stream);

}  // namespace marlin::cuda
