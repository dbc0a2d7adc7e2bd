// The words that a page uses for its figures and its rows, for readers who meet them here first.
#include <fmt/format.h>

#include <set>
#include <string>
#include <vector>

#include "report/page_sections.h"
#include "report/row_programs.h"

namespace marlin {
namespace {

// "awq+gptq" names two.
void AddNames(const std::string& recipe, std::set<std::string>& names) {
  std::size_t begin = 0;
  for (std::size_t end = recipe.find('+'); end != std::string::npos; end = recipe.find('+', begin)) {
    names.insert(recipe.substr(begin, end - begin));
    begin = end + 1;
  }
  names.insert(recipe.substr(begin));
}

}  // namespace

Document WordsFold(const Analysis& analysis, const PageOptions& options) {
  std::set<std::string> used;
  bool mixed = false;
  bool calibrated = false;
  for (const StoredRecord* stored : analysis.shown) {
    AddNames(stored->record.config.method, used);
    calibrated = calibrated || stored->record.config.calibration.has_value();
    mixed = mixed || stored->record.config.kind == record::Kind::kMixed;
  }
  std::vector<std::string> words = {
      "Perplexity (PPL): how badly the model predicts a text, per token. Lower is better. Delta: the change from the "
      "16-bit baseline.",
      "KL: how far the predictions are from the baseline's, on average over the tokens, in nats. 0 means the same "
      "predictions. 1e-3 nats is a thousandth of a nat.",
      "fp4-g32: 4-bit floating point (E2M1), one scale for 32 weights. int4-g64: 4-bit integers, one scale and one "
      "zero "
      "point for 64 weights.",
      "Prefill: reading the prompt. Decode: making one token after another. Both in tokens per second."};
  words.push_back(fmt::format(
      "{}: the programs that run a row's formats by kernels of their own, as of {}. metal-marlin export writes their "
      "files: they hold the same codes and scales, without loss. Bits behind a program: its files need so many bits "
      "per weight for the quantized layers, more than the row says. A mixed row runs where each of its formats does.",
      kRunsInTitle, kRuntimesAsOf));
  if (mixed) words.push_back("mixed: a format for each part of the model, the best choice within a budget of bytes.");
  for (const auto& [name, description] : options.methods) {
    if (used.contains(name)) words.push_back(fmt::format("{}: {}.", name, description));
  }
  if (calibrated) {
    words.push_back("Calibration text, in parentheses behind a row: the text by which the method learns what matters.");
  }
  Document list;
  list.AddList(std::move(words));
  Document out;
  out.AddFold("Words on this page", std::move(list));
  return out;
}

}  // namespace marlin
