// Shared by eval perplexity and eval divergence: options, the pass over one or two models, and the output.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/text.h"
#include "cli/verb.h"

namespace marlin {

struct EvaluationOptions {
  std::string model;
  std::string baseline;
  std::vector<std::string> accept_unknown;
  TextOptions text;
  std::size_t samples = 0;
  std::size_t ctx = 512;
  std::size_t floor_windows = 0;
  bool verify = false;
  BackendOptions backend;
};

// All but --baseline and the floor.
void AddEvaluationOptions(Verb& verb, EvaluationOptions& options);

Status RunPerplexity(const EvaluationOptions& options, Invocation& invocation);

// Both models in one pass: perplexities, paired delta, divergence, noise floor. Errors: those of loading and
// evaluating; kInput (other tokenizer or vocabulary).
Status RunAgainstBaseline(const EvaluationOptions& options, Invocation& invocation);

}  // namespace marlin
