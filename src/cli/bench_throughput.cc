// bench throughput: tokens per second counted as llama-bench does, of models as they are or rounded in memory,
// interleaved.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/statistics.h"
#include "base/thread_pool.h"
#include "bench/limits.h"
#include "bench/model_throughput.h"
#include "bench/weight_traffic.h"
#include "cli/bench.h"
#include "cli/configs.h"
#include "cli/model_candidates.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "files/checkpoint.h"
#include "model/sizes.h"
#include "report/markdown.h"
#include "report/speed_tables.h"
#include "study/machine.h"

namespace marlin {
namespace {
using nlohmann::json;

struct BenchThroughputArguments {
  std::vector<std::string> models;
  std::vector<std::string> accept_unknown;
  CandidateOptions candidates;
  RunLengths lengths;
  std::string output = "md";
  bool output_given = false;
  bool no_limits = false;
  BackendOptions backend;
};

Result<std::vector<Model>> LoadAll(const std::vector<ModelCandidate>& candidates, Backend& backend, Console& console) {
  std::vector<Model> models;
  for (const ModelCandidate& candidate : candidates) {
    auto model =
        LoadModel(*candidate.checkpoint, backend, Precision::kSixteenBit, console.progress(), candidate.rounded);
    if (!model) return model.error();
    models.push_back(std::move(*model));
  }
  return models;
}

ThroughputRow DescribeRow(const ModelCandidate& candidate, const Model& model) {
  ThroughputRow row;
  row.model = candidate.checkpoint->name;
  row.path = candidate.checkpoint->path.string();
  row.accepted_unknown = candidate.checkpoint->accepted.found();
  row.weights = candidate.weights;
  row.kernels = DescribeKernels(model);
  row.threads = model.backend->threads();
  return row;
}

void SetRate(ThroughputRow& row, const char* test, std::size_t tokens, const std::vector<double>& samples_ns) {
  const TokenRate rate = RateOf(tokens, samples_ns);
  row.test = fmt::format("{}{}", test, tokens);
  row.mean_tok_s = rate.mean_tok_s;
  row.deviation_tok_s = rate.deviation_tok_s;
  row.median_tok_s = rate.median_tok_s;
  row.unstable = SummarizeTimings(samples_ns).unstable();
}

// The rates below use the median, which one stall of the machine does not change.
ThroughputRow PromptRow(ThroughputRow row, const Model& model, std::size_t tokens, const std::vector<double>& samples,
                        const std::optional<MachineLimits>& limits) {
  SetRate(row, "pp", tokens, samples);
  row.gflops = 2e-9 * static_cast<double>(LinearWeights(model.description)) * row.median_tok_s;
  const std::string_view activation = ActivationOf(model.weights.blocks[0].matrices[0].weight->kernel());
  const auto peak = limits ? ComputePeak(*limits, activation) : std::nullopt;
  if (peak) row.limit = LimitShare{*row.gflops / *peak, fmt::format("{} peak", activation)};
  return row;
}

ThroughputRow GenerationRow(ThroughputRow row, const Model& model, std::size_t tokens,
                            const std::vector<double>& samples, const std::string& step_kernel,
                            const std::optional<MachineLimits>& limits) {
  SetRate(row, "tg", tokens, samples);
  if (!step_kernel.empty()) row.kernels += fmt::format("; steps {}", step_kernel);
  row.weight_bytes = WeightBytesPerToken(model);
  row.gbps = 1e-9 * static_cast<double>(*row.weight_bytes) * row.median_tok_s;
  if (limits && limits->read_gbps > 0) {
    const bool cached = *row.weight_bytes <= LastLevelCacheBytes();
    const char* const limit = cached ? "read bandwidth of memory; fits in cache" : "read bandwidth";
    row.limit = LimitShare{*row.gbps / limits->read_gbps, limit};
  }
  return row;
}

json ToJson(const ThroughputRow& row, std::size_t tokens, const std::vector<double>& samples_ns) {
  const auto number = [](const auto& x) { return x ? json(*x) : json(nullptr); };
  return {{"model", row.model},
          {"path", row.path},
          {"weights", row.weights},
          {"kernels", row.kernels},
          {"threads", row.threads},
          {"test", row.test},
          {"tokens", tokens},
          {"mean_tok_s", row.mean_tok_s},
          {"deviation_tok_s", number(row.deviation_tok_s)},
          {"median_tok_s", row.median_tok_s},
          {"unstable", row.unstable},
          {"busy", row.busy},
          {"weight_bytes_per_token", number(row.weight_bytes)},
          {"gbps", number(row.gbps)},
          {"gflops", number(row.gflops)},
          {"limit_share", row.limit ? json(row.limit->share) : json(nullptr)},
          {"limit", row.limit ? json(row.limit->limit) : json(nullptr)},
          {"samples_ns", samples_ns}};
}

std::string Heading(const BenchThroughputArguments& options, int threads, const std::optional<MachineLimits>& limits) {
  const std::string measured = "limits of this machine: " + (limits ? DescribeLimits(*limits) : "not measured");
  return fmt::format(
      "{} threads, {}, {}; {}; {} of each test after 1 warm-up, interleaved; GB/s, GFLOP/s (linear layers without the "
      "head) and shares are computed from the median, ± is the standard deviation of the runs\n",
      threads, DescribeMachine(threads).cpu, BackendLabel(options.backend), measured,
      options.lengths.repetitions == 1 ? "1 run" : fmt::format("{} runs", options.lengths.repetitions));
}

void Print(const BenchThroughputArguments& options, const std::vector<ThroughputRow>& rows, const json& json_rows,
           int threads, const std::optional<MachineLimits>& limits, Console& console) {
  std::string text = options.output == "csv"
                         ? ThroughputCsv(rows)
                         : Heading(options, threads, limits) + "\n" + ToMarkdown(ThroughputTable(rows));
  text.pop_back();  // the console ends the line
  console.Result(text);
  json document = DescribeRun(threads);
  document.update({{"backend", BackendLabel(options.backend)},
                   {"limits", limits ? ToJson(*limits) : json(nullptr)},
                   {"repetitions", options.lengths.repetitions},
                   {"rows", json_rows}});
  console.Data(document);
}

Status RunThroughput(const BenchThroughputArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (options.output_given && options.output != "json" && invocation.common.json) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--output {} and --json exclude each other; give one of them", options.output)};
  }
  if (options.lengths.prompt == 0 && options.lengths.generate == 0) {
    return Error{ErrorCode::kUsage, "--prompt 0 and --generate 0 leave nothing to time; give one of them above 0"};
  }
  std::vector<Checkpoint> checkpoints;
  for (const std::string& path : options.models) {
    auto opened = OpenModelOf(path, options.accept_unknown, console);
    if (!opened) return opened.error();
    checkpoints.push_back(std::move(opened->checkpoint));
  }
  CandidateOptions wanted = options.candidates;
  wanted.context = std::max(options.lengths.prompt, options.lengths.generate);
  wanted.max_batch = std::max<std::size_t>(options.lengths.prompt, 1);
  const auto candidates = ListCandidates(checkpoints, wanted);
  if (!candidates) return candidates.error();
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const bool busy = WarnOfLoad(console);
  std::optional<MachineLimits> limits;
  std::optional<ReadProbe> probe;
  ThreadPool pool((*backend)->threads());
  if (!options.no_limits && !(*backend)->hardware()) {
    limits = MeasureLimits(pool);
    WarnOfFewCores(*limits, pool.threads(), console);
    if (auto status = ReadProbe::Create(pool).MoveTo(probe); !status) return status;
  }
  const auto models = LoadAll(*candidates, **backend, console);
  if (!models) return models.error();
  std::vector<const Model*> pointers;
  for (const Model& model : *models) pointers.push_back(&model);
  WarnOfUnusedChoice(pointers, options.backend, console);
  const auto read = probe ? std::function<void()>([&] { probe->Run(); }) : nullptr;
  const auto times = TimeRuns(pointers, options.lengths, read, console.progress());
  if (!times) return times.error();
  // Measured between the runs that read weights.
  if (!times->beside_ns.empty()) limits->read_gbps = probe->bytes() / Quantile(times->beside_ns, 0.5);
  std::vector<ThroughputRow> rows;
  json json_rows = json::array();
  const auto add = [&](ThroughputRow row, std::size_t tokens, const std::vector<double>& samples) {
    json_rows.push_back(ToJson(row, tokens, samples));
    if (!row.accepted_unknown.empty()) json_rows.back()["accepted_unknown"] = row.accepted_unknown;
    rows.push_back(std::move(row));
  };
  for (std::size_t i = 0; i < models->size(); ++i) {
    ThroughputRow row = DescribeRow((*candidates)[i], (*models)[i]);
    row.busy = busy;
    const auto& [prompt_ns, generate_ns, step_kernel] = times->models[i];
    const auto [prompt, generate, repetitions] = options.lengths;
    if (prompt > 0) add(PromptRow(row, (*models)[i], prompt, prompt_ns, limits), prompt, prompt_ns);
    if (generate > 0) {
      add(GenerationRow(row, (*models)[i], generate, generate_ns, step_kernel, limits), generate, generate_ns);
    }
  }
  Print(options, rows, json_rows, (*backend)->threads(), limits, console);
  return {};
}

}  // namespace

void RegisterBenchThroughput(Verb bench) {
  auto options = std::make_shared<BenchThroughputArguments>();
  Verb verb = bench.AddVerb("throughput", "Measure tokens per second as llama-bench does: pp512 and tg128",
                            "metal-marlin bench throughput ./SmolLM2-135M --config f16 --config fp4-g128");
  verb.Add("model", options->models, std::string(kAnyModelWords) + "; several are timed interleaved").Required();
  verb.Add("-c,--config", options->candidates.configs,
           fmt::format("Round the linear layers to nearest in memory first: {}; {} = as loaded. Separated by commas or "
                       "repeated; several are timed interleaved",
                       ConfigNames(), kAsLoaded))
      .SeparatedByCommas()
      .Names()
      .OneWordEach();
  verb.AddFlag("--quantize-embeddings", options->candidates.quantize_embeddings,
               "With --config: also round the embedding");
  verb.AddFlag("--quantize-head", options->candidates.quantize_head, "With --config: also round the head");
  verb.Add("-p,--prompt", options->lengths.prompt, "Tokens of a prompt; 0 = do not time pp").Between(0, 131072);
  verb.Add("-n,--generate", options->lengths.generate, "Tokens to generate; 0 = do not time tg").Between(0, 131072);
  verb.Add("-r,--repetitions", options->lengths.repetitions, "Measured runs of each test").Between(1, 10000);
  const Option output =
      verb.Add("-o,--output", options->output, "md, csv, or json (the same as --json)").OneOf({"md", "csv", "json"});
  verb.AddFlag("--no-limits", options->no_limits, "Do not measure the limits of the machine");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs(
      [options, output](Invocation& invocation) {
        options->output_given = output.IsGiven();
        return RunThroughput(*options, invocation);
      },
      [options](CommonOptions& common) { common.json = common.json || options->output == "json"; });
}

}  // namespace marlin
