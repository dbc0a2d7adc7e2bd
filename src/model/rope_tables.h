// The angles of rotary positions as tables on a device.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/description.h"

namespace marlin {

// Of one Rope, for all positions of a sequence.
class RopeTable {
 public:
  // Errors: kResource.
  static Result<RopeTable> Create(const Rope& rope, std::size_t context, Backend& backend);
  static std::size_t Bytes(const Rope& rope, std::size_t context);

  // What rotates x [m, heads * head_dim], whose rows have these positions. Queries may be scaled on the way.
  RopeArgs Args(const DeviceTensor& x, std::size_t head_dim, const DeviceTensor& positions, bool are_queries) const;

 private:
  DeviceTensor Table(const std::unique_ptr<Buffer>& buffer) const { return View(buffer, context_, pairs_); }

  std::size_t context_ = 0;
  std::size_t pairs_ = 0;
  bool neighbours_ = false;
  std::unique_ptr<Buffer> cos_, sin_;              // [context, pairs]
  std::unique_ptr<Buffer> query_cos_, query_sin_;  // the same for queries, where those differ
};

}  // namespace marlin
