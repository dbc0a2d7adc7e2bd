// Rotary positions from a config.json: theta and the scaling, in the old spelling ("rope_scaling" beside "rope_theta")
// and in the new one ("rope_parameters", also one for each type of layer). Every setting in them is used or refused.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "model/config_fields.h"
#include "model/description.h"

namespace marlin {

// What a family says beside its configuration.
struct RopeRequest {
  std::size_t head_dim = 0;
  std::size_t context = 0;  // positions that the model was trained for
  double theta = 10000;     // where no key gives it
  const char* theta_key = "rope_theta";
  double rotary_share = 1;  // of a head, where no key gives it
  const char* share_key = "partial_rotary_factor";
  bool may_be_partial = false;       // the architecture turns a share of each head where the configuration says so
  const char* layer_type = nullptr;  // the one that "rope_parameters" may have settings of its own for
  bool old_scaling = true;           // "rope_scaling" holds for these layers
  bool neighbours = false;
};

// Errors: kInput (a setting that is missing, impossible, or contradicts another), kUnsupported (a kind of scaling or a
// setting that this program does not compute); each names the key.
Result<Rope> ParseRope(const Config& config, const RopeRequest& request);

}  // namespace marlin
