// Models that are timed together: each as it is, or rounded to nearest in memory into configurations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// The configuration that means weights as they are loaded.
inline constexpr const char* kAsLoaded = "f16";

struct CandidateOptions {
  std::vector<std::string> configs;  // empty = as loaded
  bool quantize_embeddings = false;
  bool quantize_head = false;
  std::size_t context = 0;    // positions of a session
  std::size_t max_batch = 0;  // tokens at once
};

// A model in a configuration, before it is loaded.
struct ModelCandidate {
  const Checkpoint* checkpoint = nullptr;
  Description description;
  std::string weights;      // what they are called: "fp4-g128", "f16 (dequantized from Q4_1)"
  FormatMap rounded;        // for LoadModel
  std::uint64_t bytes = 0;  // of memory, with a session; an estimate
};

// Every model in every configuration; the checkpoints outlive them. Errors: kUsage (unknown configuration, a head that
// is the embedding, more positions than the model has), kInput, kResource (together they do not fit into memory).
Result<std::vector<ModelCandidate>> ListCandidates(const std::vector<Checkpoint>& checkpoints,
                                                   const CandidateOptions& options);

}  // namespace marlin
