// Scaled rotary positions in GGUF: Llama 3.1's scaling as the vector of divisors that files hold, YaRN's magnitude, and
// the keys that are written.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "files/gguf_families.h"

namespace marlin {

// Frequencies are divided by `factor` below context / low wavelengths, kept above context / high, blended between.
struct Llama3Scaling {
  double factor = 1, low = 1, high = 4, context = 8192;  // published models have these, and a factor
};

// The divisor of each pair's frequency.
std::vector<float> Llama3Divisors(const Llama3Scaling& scaling, double theta, std::size_t pairs);

// A scaling with these divisors, within 1e-4 of each: the published one where it fits, else one made to fit. Empty when
// there is none. The largest divisor is the factor.
std::optional<Llama3Scaling> FitLlama3(std::span<const float> divisors, double theta);

// What llama.cpp scales queries and keys together by, for an extension of the context by `factor`, unless told
// otherwise.
double UsualYarnMagnitude(double factor);

// Adds the keys of rotary positions, and the vector of divisors. `may_divide`: the architecture has such a vector.
// Errors: kUnsupported (a kind of scaling that GGUF does not have), naming the setting.
Status WriteRope(const GgufConfigTarget& target, bool may_divide);

}  // namespace marlin
