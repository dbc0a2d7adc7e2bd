#include "cli/model_candidates.h"

#include <fmt/format.h>

#include "cli/configs.h"
#include "cli/console.h"
#include "model/families/family.h"
#include "model/model.h"
#include "model/sizes.h"
#include "quantize/quantize_model.h"
#include "study/comparison.h"
#include "study/machine.h"

namespace marlin {
namespace {

Error Located(const std::string& path, const Error& error) { return {error.code, path + ": " + error.message}; }

// The configurations by name; null means weights as they are loaded.
Result<std::vector<const FormatRow*>> ParseConfigs(const CandidateOptions& options) {
  if (options.configs.empty() && (options.quantize_embeddings || options.quantize_head)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--quantize-embeddings and --quantize-head need a --config of: {}", ConfigNames())};
  }
  std::vector<const FormatRow*> formats;
  for (const std::string& name : options.configs) {
    const auto format = name == kAsLoaded ? Result<const FormatRow*>(nullptr) : ParseConfig(name);
    if (!format) {
      return Error{format.error().code,
                   fmt::format("{}, or {}: the weights as they are loaded", format.error().message, kAsLoaded)};
    }
    formats.push_back(*format);
  }
  if (formats.empty()) formats.push_back(nullptr);
  return formats;
}

std::uint64_t TensorBytes(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : checkpoint.tensors) bytes += tensor.byte_size();
  return bytes;
}

Result<ModelCandidate> MakeCandidate(const Checkpoint& checkpoint, const FormatRow* format,
                                     const CandidateOptions& options) {
  const std::string path = checkpoint.path.string();
  auto description = DescribeModel(checkpoint.config);
  if (!description) return Located(path, description.error());
  if (options.context > description->max_context) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: {} tokens exceed the {} that the model was trained for; take a smaller --prompt or "
                             "--generate",
                             path, options.context, description->max_context)};
  }
  const auto first = FindWeight(checkpoint, description->blocks[0].matrices[0].name);
  if (!first) return first.error();
  ModelCandidate candidate{&checkpoint, std::move(*description), SourceType(checkpoint), {}, TensorBytes(checkpoint)};
  if (!first->encoded) {
    candidate.weights = BaselineName(candidate.weights);
    candidate.bytes = ModelBytes(candidate.description, format);
  }
  candidate.bytes += SessionBytes(candidate.description, options.context, options.max_batch);
  if (format == nullptr) return candidate;
  QuantizeOptions quantize;
  quantize.format = format;
  quantize.quantize_embeddings = options.quantize_embeddings;
  quantize.quantize_head = options.quantize_head;
  auto formats = FormatsToUse(candidate.description, quantize);
  if (!formats) return Located(path, formats.error());
  candidate.rounded = std::move(*formats);
  candidate.weights = fmt::format("{}{}{}", format->info.name, options.quantize_embeddings ? " +embedding" : "",
                                  options.quantize_head ? " +head" : "");
  return candidate;
}

}  // namespace

Result<std::vector<ModelCandidate>> ListCandidates(const std::vector<Checkpoint>& checkpoints,
                                                   const CandidateOptions& options) {
  const auto formats = ParseConfigs(options);
  if (!formats) return formats.error();
  std::vector<ModelCandidate> candidates;
  std::uint64_t need = 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    for (const FormatRow* format : *formats) {
      auto candidate = MakeCandidate(checkpoint, format, options);
      if (!candidate) return candidate.error();
      need += candidate->bytes;
      candidates.push_back(std::move(*candidate));
    }
  }
  const std::uint64_t have = AvailableMemoryBytes();
  if (have == 0 || need <= have) return candidates;
  return Error{
      ErrorCode::kResource,
      fmt::format("{} models at once need about {} of memory, {} are available; name fewer models or --config",
                  candidates.size(), FormatBytes(static_cast<double>(need)), FormatBytes(static_cast<double>(have)))};
}

}  // namespace marlin
