// bench kernels: shows which kernel is chosen for a format and why, or times every format on sets of shapes after a
// check in fp64, as tables and plots.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/statistics.h"
#include "base/thread_pool.h"
#include "bench/kernel_throughput.h"
#include "bench/limits.h"
#include "cli/bench.h"
#include "cli/model_options.h"
#include "files/checkpoint.h"
#include "formats/formats.h"
#include "kernels/kernel.h"
#include "report/kernel_plots.h"
#include "report/speed_tables.h"
#include "study/machine.h"

namespace marlin {
namespace {
using nlohmann::json;

struct BenchKernelsArguments {
  bool explain = false;
  bool quick_timing = false;
  std::string model;
  std::vector<std::string> accept_unknown;
  std::vector<std::string> shapes = {"page"};
  std::vector<std::size_t> tokens;
  std::vector<std::string> formats;
  std::string plot;
  std::string plot_tokens;
  BackendOptions backend;
};

constexpr const char* kGnuplot = "gnuplot";

Result<std::vector<const FormatRow*>> ParseFormats(const std::vector<std::string>& names) {
  std::vector<const FormatRow*> formats;
  for (const std::string& name : names) {
    const auto format = ParseFormat(name);
    if (!format) return format.error();
    formats.push_back(*format);
  }
  if (!formats.empty()) return formats;
  for (const FormatRow& row : Formats()) {
    if (row.info.common) formats.push_back(&row);
  }
  return formats;
}

Result<std::vector<GemmShape>> ChooseShapes(const BenchKernelsArguments& options, Console& console) {
  if (options.model.empty()) return NamedShapes(options.shapes, options.tokens);
  const auto opened = OpenModelOf(options.model, options.accept_unknown, console);
  if (!opened) return opened.error();
  return ModelShapes(opened->description, options.tokens);
}

Result<PictureType> PictureTypeOf(const std::string& file) {
  if (file.ends_with(".png")) return PictureType::kPng;
  if (file.ends_with(".svg")) return PictureType::kSvg;
  return Error{ErrorCode::kUsage, fmt::format("{}: a plot is a .png or a .svg file", file)};
}

// Checks that the plots can be drawn, before the measurement, which may take an hour.
Status CheckPlots(const BenchKernelsArguments& options, const std::vector<GemmShape>& shapes) {
  for (const std::string& file : {options.plot, options.plot_tokens}) {
    if (file.empty()) continue;
    const auto type = PictureTypeOf(file);
    if (!type) return type.error();
    if (auto status = CheckOutputFile(file); !status) return status;
    const auto drawn = DrawFigure({100, 100, "plot [0:1] 0 notitle\n"}, *type, kGnuplot);
    if (!drawn) return drawn.error();
  }
  const auto pair = [&](const GemmShape& one) {
    return one.m == 1 && std::ranges::any_of(shapes, [&](const GemmShape& other) {
             return other.m != 1 && other.n == one.n && other.k == one.k;
           });
  };
  if (options.plot_tokens.empty() || std::ranges::any_of(shapes, pair)) return {};
  return Error{ErrorCode::kUsage, "--plot-tokens compares with one token: give 1 and another number with --tokens"};
}

// Checks that the kernel given multiplies one of the formats.
Status CheckKernel(const std::vector<const FormatRow*>& formats, const std::string& name) {
  const KernelRow* const row = FindKernel(name);
  if (row == nullptr || row->family == kAnyFamily) return {};  // MakeBackend refuses an unknown one
  const auto served = [&](const FormatRow* format) { return format->info.family == row->family; };
  if (std::ranges::any_of(formats, served)) return {};
  return Error{
      ErrorCode::kUsage,
      fmt::format("--kernel {} multiplies {} weights, but none of the formats has such weights", name, row->family)};
}

// Checks that the blocks of every format divide the rows of every shape.
Status CheckRows(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes) {
  for (const FormatRow* format : formats) {
    const auto bad =
        std::ranges::find_if(shapes, [&](const GemmShape& shape) { return !FitsRows(format->info, shape.k); });
    if (bad == shapes.end()) continue;
    return Error{ErrorCode::kUsage, fmt::format("{} has blocks of {} weights, which do not divide k = {}; choose other "
                                                "--shapes, or its fallback {}",
                                                format->info.name, format->info.block, bad->k, format->info.fallback)};
  }
  return {};
}

Status Explain(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes,
               const BenchKernelsArguments& options, Console& console) {
  const auto kernels = KernelsOf(options.backend);
  if (!kernels) return kernels.error();
  console.Result(fmt::format("this machine has: {}", IsaNames(HostIsa())));
  json document = json::array();
  for (const FormatRow* format : formats) {
    // The choice does not depend on n and k; the last shape of the list stands for all.
    const KernelRequest request{&format->info, shapes.back().n, shapes.back().k};
    console.Result(fmt::format("{} (n={} k={})", format->info.name, request.rows, request.cols));
    json walk = json::array();
    for (const KernelVerdict& verdict : ExplainKernel(Kernels(), request, *kernels)) {
      if (verdict.row->family != kAnyFamily && verdict.row->family != format->info.family) continue;
      console.Result(fmt::format("  {} {:<18} {}", verdict.chosen ? "->" : "  ", verdict.row->name, verdict.reason));
      walk.push_back({{"kernel", verdict.row->name}, {"chosen", verdict.chosen}, {"reason", verdict.reason}});
    }
    document.push_back({{"format", format->info.name}, {"walk", walk}});
  }
  console.Data(document);
  return {};
}

KernelSpeed SpeedOf(const KernelTiming& timing, const MachineLimits& limits, bool busy) {
  const TimingSummary summary = SummarizeTimings(timing.samples_ns);
  KernelSpeed speed;
  speed.set = timing.shape.set;
  speed.m = timing.shape.m;
  speed.n = timing.shape.n;
  speed.k = timing.shape.k;
  speed.format = timing.format->info.name;
  speed.kernel = timing.kernel;
  speed.us = summary.mean / 1e3;
  speed.flops = static_cast<double>(timing.flops);
  speed.bytes = static_cast<double>(timing.bytes_moved);
  speed.peak_gflops = ComputePeak(limits, timing.activation);
  if (const auto least = LeastTimeOf(limits, timing.activation, speed.flops, speed.bytes)) {
    const std::string limit = least->by_memory ? "read bandwidth" : fmt::format("{} peak", timing.activation);
    speed.limit = LimitShare{least->ns / summary.mean, limit};
  }
  speed.max_error = timing.max_error;
  speed.in_cache = timing.in_cache;
  speed.unstable = summary.unstable();
  speed.busy = busy;
  return speed;
}

json ToJson(const KernelTiming& timing, const KernelSpeed& speed) {
  const TimingSummary summary = SummarizeTimings(timing.samples_ns);
  return {{"set", speed.set},
          {"m", speed.m},
          {"n", speed.n},
          {"k", speed.k},
          {"format", speed.format},
          {"kernel", speed.kernel},
          {"activation", timing.activation},
          {"mean_ns", summary.mean},
          {"median_ns", summary.median},
          {"cv", summary.cv},
          {"unstable", speed.unstable},
          {"busy", speed.busy},
          {"gflops", speed.gflops()},
          {"gbps", speed.gbps()},
          {"limit_share", speed.limit ? json(speed.limit->share) : json(nullptr)},
          {"limit", speed.limit ? json(speed.limit->limit) : json(nullptr)},
          {"max_error", speed.max_error},
          {"checked_outputs", timing.checked_outputs},
          {"in_cache", speed.in_cache},
          {"samples_ns", timing.samples_ns}};
}

Status DrawPlots(const BenchKernelsArguments& options, const KernelPlotInput& input, Console& console) {
  for (const auto& [file, draw] :
       {std::pair{options.plot, &RooflineFigure}, std::pair{options.plot_tokens, &TokensFigure}}) {
    if (file.empty()) continue;
    const auto type = PictureTypeOf(file);
    const auto figure = draw(input);
    if (!type || !figure) continue;  // CheckPlots refused both
    const auto picture = DrawFigure(*figure, *type, kGnuplot);
    if (!picture) return picture.error();
    if (auto status = WriteFileAtomic(file, *picture); !status) return status;
    console.Say(file);
  }
  return {};
}

// Shared by all shapes of a run, and the collected results.
struct KernelRun {
  Backend& backend;
  std::vector<const FormatRow*> formats;
  TimingProtocol protocol;
  bool busy = false;       // when it began
  MachineLimits limits{};  // the largest so far
  std::vector<KernelTiming> timings{};
};

void AddPeak(const std::string& activation, const MachineLimits& limits, std::vector<ComputeLimit>& peaks) {
  const auto gflops = ComputePeak(limits, activation);
  const std::string name = fmt::format("{} peak", activation);
  if (!gflops || std::ranges::find(peaks, name, &ComputeLimit::name) != peaks.end()) return;
  peaks.push_back({name, *gflops});
}

// Time of a run at the limits of the machine. The real time is longer.
double LeastSeconds(const KernelRun& run, const std::vector<GemmShape>& shapes, const std::string& rounding) {
  const auto times = static_cast<double>(run.protocol.warmup + run.protocol.iterations);
  double ns = 0;
  for (const GemmShape& shape : shapes) {
    for (const FormatRow* format : run.formats) {
      const double weights = static_cast<double>(shape.n) * static_cast<double>(shape.k);
      const std::string_view activations = format->info.group > 0 ? std::string_view(rounding) : kExactActivations;
      const auto least = LeastTimeOf(run.limits, activations, 2 * static_cast<double>(shape.m) * weights,
                                     weights * format->info.code_bits / 8);
      if (least) ns += times * least->ns;
    }
  }
  return ns * 1e-9;
}

// After a layer that took longer, limits are measured again: shared machines change within minutes.
constexpr std::chrono::seconds kLimitsLast{5};

// One layer at every number of tokens in every format.
Status TimeLayer(const std::vector<GemmShape>& shapes, KernelRun& run, Console& console) {
  const auto memory = static_cast<std::size_t>(0.5 * static_cast<double>(AvailableMemoryBytes()));
  const auto start = std::chrono::steady_clock::now();
  const auto timings = TimeKernels(run.backend, shapes, run.formats, run.protocol, memory, console.progress());
  if (!timings) return timings.error();
  if (std::chrono::steady_clock::now() - start > kLimitsLast) {
    ThreadPool pool(run.backend.threads());
    run.limits = LargerOf(run.limits, MeasureLimits(pool));
  }
  std::vector<KernelSpeed> speeds;
  for (const KernelTiming& timing : *timings) speeds.push_back(SpeedOf(timing, run.limits, run.busy));
  console.Result(fmt::format("n={} k={} ({})\n{}", shapes[0].n, shapes[0].k, shapes[0].set,
                             ToPlainText(KernelSpeedTable(speeds))));
  run.timings.insert(run.timings.end(), timings->begin(), timings->end());
  return {};
}

KernelPlotInput PlotInput(const KernelRun& run) {
  KernelPlotInput plot;
  plot.read_gbps = run.limits.read_gbps;
  for (const KernelTiming& timing : run.timings) {
    plot.speeds.push_back(SpeedOf(timing, run.limits, run.busy));
    AddPeak(timing.activation, run.limits, plot.peaks);
  }
  return plot;
}

Status TimeAll(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes,
               const BenchKernelsArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckPlots(options, shapes); !status) return status;
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const int threads = (*backend)->threads();
  KernelRun run{**backend, formats, options.quick_timing ? kQuickTiming : kStandardTiming, WarnOfLoad(console)};
  {
    ThreadPool pool(threads);
    run.limits = MeasureLimits(pool);
  }
  WarnOfFewCores(run.limits, threads, console);
  console.Result(fmt::format("{} threads; limits of this machine: {}; protocol {}\n", threads,
                             DescribeLimits(run.limits), run.protocol.id));
  const double least = LeastSeconds(run, shapes, RoundingOf(options.backend));
  console.Say(fmt::format("{} products to time{}", shapes.size() * formats.size(),
                          least < 1 ? "" : fmt::format(", which takes more than {}", FormatDuration(least))));
  for (const std::vector<GemmShape>& layer : ByLayer(shapes)) {
    if (auto status = TimeLayer(layer, run, console); !status) return status;
  }
  console.Result(fmt::format("limits (largest values measured): {}", DescribeLimits(run.limits)));
  KernelPlotInput plot = PlotInput(run);
  plot.setting = fmt::format("{} threads, {}, {}; protocol {}", threads, DescribeMachine(threads).cpu,
                             BackendLabel(options.backend), run.protocol.id);
  json rows = json::array();
  for (std::size_t i = 0; i < run.timings.size(); ++i) rows.push_back(ToJson(run.timings[i], plot.speeds[i]));
  json document = DescribeRun(threads);
  document.update({{"limits", ToJson(run.limits)}, {"protocol", run.protocol.id}, {"kernels", rows}});
  console.Data(document);
  return DrawPlots(options, plot, console);
}

Status RunKernels(const BenchKernelsArguments& options, Invocation& invocation) {
  const auto formats = ParseFormats(options.formats);
  if (!formats) return formats.error();
  const auto shapes = ChooseShapes(options, invocation.console);
  if (!shapes) return shapes.error();
  if (auto status = CheckKernel(*formats, options.backend.kernel); !status) return status;
  if (auto status = CheckRows(*formats, *shapes); !status) return status;
  if (options.explain) return Explain(*formats, *shapes, options, invocation.console);
  return TimeAll(*formats, *shapes, options, invocation);
}

}  // namespace

void RegisterBenchKernels(Verb bench) {
  auto options = std::make_shared<BenchKernelsArguments>();
  Verb verb = bench.AddVerb("kernels", "Time single matrix products, or show which kernel is chosen and why",
                            "metal-marlin bench kernels --explain -f fp4-g128");
  const Option explain =
      verb.AddFlag("--explain", options->explain, "Only print which kernel is chosen for each product, and why");
  verb.Add("-f,--format", options->formats, "Weight formats, separated by commas. Default: all")
      .SeparatedByCommas()
      .Names();
  const Option model = verb.Add("-m,--model", options->model, "Use this model's layers instead of a named set");
  verb.Add("--shapes", options->shapes,
           fmt::format("Sets of shapes, separated by commas: {}. page: the shapes of the report page; the others: "
                       "linear layers of models",
                       ShapeSetNames()))
      .SeparatedByCommas()
      .Names()
      .Excludes(model);
  verb.Add("--tokens", options->tokens,
           fmt::format(
               "Numbers of tokens per product, separated by commas. Default: {} for layers of models; page has its own",
               fmt::join(kModelTokens, ",")))
      .SeparatedByCommas()
      .Between(1, 65536);
  verb.Add("--plot", options->plot, "Draw a roofline into this file, .png or .svg").Excludes(explain).NamesFile();
  verb.Add("--plot-tokens", options->plot_tokens,
           "Draw time against the number of tokens, relative to one token, into this file")
      .Excludes(explain)
      .NamesFile();
  verb.AddFlag("--quick-timing", options->quick_timing, "2 warm-up and 8 measured iterations instead of 15 and 100");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunKernels(*options, invocation); });
}

}  // namespace marlin
