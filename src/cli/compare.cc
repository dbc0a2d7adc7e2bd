// compare: compares two folders of records; a gate for continuous integration.

#include <fmt/format.h>

#include <filesystem>

#include "cli/verb.h"
#include "report/compare_text.h"

namespace marlin {
namespace {

struct CompareArguments {
  std::string a;
  std::string b;
  CompareLimits limits;
};

Result<std::vector<StoredRecord>> Load(const std::string& folder, Console& console) {
  auto loaded = LoadRecords(folder);
  if (!loaded) return loaded.error();
  for (const std::string& warning : loaded->warnings) console.Warn(warning);
  return std::move(loaded->records);
}

std::string Joined(const std::vector<std::string>& sentences) {
  std::string out;
  for (const std::string& sentence : sentences) out += (out.empty() ? "" : "; ") + sentence;
  return out;
}

Status RunCompare(const CompareArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (std::error_code code; std::filesystem::equivalent(options.a, options.b, code)) {
    console.Warn(
        fmt::format("{} and {} are the same folder; every difference is 0 by definition", options.a, options.b));
  }
  const auto a = Load(options.a, console);
  if (!a) return a.error();
  const auto b = Load(options.b, console);
  if (!b) return b.error();
  const Comparison comparison = CompareRecords(*a, *b, options.limits);
  if (comparison.rows.empty()) {
    return Error{
        ErrorCode::kInput,
        fmt::format("nothing can be compared: of the {} records in {} and the {} in {}, no two measure the same model, "
                    "configuration, method, activations, protocol and text; measure both with the same options",
                    a->size(), options.a, b->size(), options.b)};
  }
  console.Result(CompareText(comparison));
  console.Data(nlohmann::json(CompareJson(comparison)));
  for (const std::string& sentence : PartlyTestedLimits(comparison)) console.Warn(sentence);
  if (comparison.exceeded()) {
    return Error{ErrorCode::kThreshold, "limit exceeded: " + Joined(ExceededLimits(comparison))};
  }
  if (const std::vector<std::string> untested = UntestedLimits(comparison); !untested.empty()) {
    return Error{ErrorCode::kInput, "a limit was not tested: " + Joined(untested)};
  }
  return {};
}

}  // namespace

void RegisterCompare(Verb parent) {
  auto options = std::make_shared<CompareArguments>();
  Verb verb = parent.AddVerb(
      "compare", "Compare two folders of records; a gate for CI",
      "metal-marlin compare ./results-of-main ./results-of-branch --max-ppl-delta 0.5 --max-slowdown 10");
  verb.Add("results_a", options->a, "Folder of records to compare with").Required();
  verb.Add("results_b", options->b, "Folder of records that must not be worse").Required();
  verb.Add("--max-ppl-delta", options->limits.ppl_delta_percent,
           "Largest allowed increase of a perplexity from A to B, in percent")
      .NotNegative();
  verb.Add("--max-kl", options->limits.kl_nats, "Largest allowed increase of a mean KL from A to B, in nats per token")
      .NotNegative();
  verb.Add(
          "--max-slowdown", options->limits.slowdown_percent,
          "Largest allowed increase of a time per token from A to B, in percent; leave a margin for noise between runs")
      .NotNegative();
  verb.AddFooter(
      "\nExit code 6: the low end of a difference's 95 % interval is above its limit. A difference that chance may "
      "explain passes.\nExit code 3: nothing can be compared; or, with a limit, no row has the difference that it "
      "tests, or B lacks a row of A.");
  verb.Runs([options](Invocation& invocation) { return RunCompare(*options, invocation); });
}

}  // namespace marlin
