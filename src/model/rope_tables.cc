#include "model/rope_tables.h"

#include <cmath>
#include <span>

namespace marlin {
namespace {

struct Values {
  std::vector<float> cos, sin;  // [context, pairs]
};

// Angle of pair i at position p = p * frequency[i], in fp32 as models are trained. `scale` of the position.
template <class Scale>
Values ValuesOf(const std::vector<float>& frequencies, std::size_t context, Scale scale) {
  Values out;
  out.cos.reserve(context * frequencies.size());
  out.sin.reserve(context * frequencies.size());
  for (std::size_t position = 0; position < context; ++position) {
    const double factor = scale(position);
    for (const float frequency : frequencies) {
      const auto angle = static_cast<double>(static_cast<float>(position) * frequency);
      out.cos.push_back(static_cast<float>(std::cos(angle) * factor));
      out.sin.push_back(static_cast<float>(std::sin(angle) * factor));
    }
  }
  return out;
}

// Growth of queries with their position, as Llama 4 has it (Hugging Face transformers, llama_4_scaling_beta).
double QueryScale(const RopeScaling& scaling, std::size_t position) {
  const auto steps = static_cast<double>(position / scaling.query_context);
  return 1 + static_cast<double>(scaling.query_growth) * std::log1p(steps);
}

}  // namespace

std::size_t RopeTable::Bytes(const Rope& rope, std::size_t context) {
  const std::size_t tables = rope.scaling.query_growth == 0 ? 2 : 4;
  return tables * context * (rope.dims / 2) * sizeof(float);
}

Result<RopeTable> RopeTable::Create(const Rope& rope, std::size_t context, Backend& backend) {
  const RopeScaling& scaling = rope.scaling;
  const bool is_long = !scaling.long_frequencies.empty() && context > scaling.short_context;
  const std::vector<float>& frequencies = is_long ? scaling.long_frequencies : scaling.frequencies;
  RopeTable out;
  out.context_ = context;
  out.pairs_ = frequencies.size();
  out.neighbours_ = rope.neighbours;
  const double magnitude = static_cast<double>(scaling.magnitude);
  const auto fill = [&](const Values& values, std::unique_ptr<Buffer>& cos, std::unique_ptr<Buffer>& sin) -> Status {
    const std::size_t elements = context * frequencies.size();
    if (auto status = backend.AllocateAll({{&cos, elements}, {&sin, elements}}); !status) return status;
    backend.Upload(values.cos, out.Table(cos));
    backend.Upload(values.sin, out.Table(sin));
    return {};
  };
  const auto values = ValuesOf(frequencies, context, [&](std::size_t) { return magnitude; });
  if (auto status = fill(values, out.cos_, out.sin_); !status) return status.error();
  if (scaling.query_growth == 0) return out;
  const auto of_queries =
      ValuesOf(frequencies, context, [&](std::size_t position) { return magnitude * QueryScale(scaling, position); });
  if (auto status = fill(of_queries, out.query_cos_, out.query_sin_); !status) return status.error();
  return out;
}

RopeArgs RopeTable::Args(const DeviceTensor& x, std::size_t head_dim, const DeviceTensor& positions,
                         bool are_queries) const {
  const bool own = are_queries && query_cos_ != nullptr;
  return {x, head_dim, Table(own ? query_cos_ : cos_), Table(own ? query_sin_ : sin_), positions, neighbours_};
}

}  // namespace marlin
