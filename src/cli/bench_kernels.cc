// bench kernels: shows which kernel is chosen for a format and why, or times every format on sets of shapes after a
// check in fp64, as tables and plots.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/thread_pool.h"
#include "bench/device_limits.h"
#include "bench/kernel_throughput.h"
#include "bench/limits.h"
#include "bench/recorded_run.h"
#include "cli/bench.h"
#include "cli/model_options.h"
#include "files/checkpoint.h"
#include "formats/formats.h"
#include "kernels/backends.h"
#include "kernels/kernel.h"
#include "report/figures.h"
#include "report/kernel_plots.h"
#include "report/speed_tables.h"
#include "study/kernel_speeds.h"
#include "study/machine.h"

namespace marlin {
namespace {
using nlohmann::json;

struct BenchKernelsArguments {
  bool explain = false;
  bool quick_timing = false;
  bool shared_input = false;
  std::string model;
  std::vector<std::string> accept_unknown;
  std::vector<std::string> shapes;
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

bool OnGpu(const BackendOptions& options) {
  const BackendRow* const row = FindBackend(options.backend).row;
  return row != nullptr && row->numbered;
}

Result<std::vector<GemmShape>> ChooseShapes(const BenchKernelsArguments& options, Console& console) {
  if (options.model.empty()) {
    const std::string usual(OnGpu(options.backend) ? kGpuShapes : "page");
    return NamedShapes(options.shapes.empty() ? std::vector{usual} : options.shapes, options.tokens);
  }
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
  RunKind kind = RunKind::kSingle;  // recorded where the device has yardsticks
  bool busy = false;                // when it began
  MachineLimits limits{};           // the largest so far
  DeviceState working{};            // of a device with yardsticks, when the limits were measured last
  std::vector<KernelTiming> timings{};

  bool recorded() const { return kind != RunKind::kSingle; }
  std::string_view reference() const { return recorded() ? backend.yardsticks()->product() : ""; }
  KernelSpeed SpeedOf(const KernelTiming& timing) const { return marlin::SpeedOf(timing, limits, reference(), busy); }
};

// Keeps the larger of each limit.
Status MeasureLimitsOf(KernelRun& run) {
  if (!run.recorded()) {
    ThreadPool pool(run.backend.threads());
    run.limits = LargerOf(run.limits, MeasureLimits(pool));
    return {};
  }
  const auto measured = MeasureDeviceLimits(run.backend);
  if (!measured) return measured.error();
  run.limits = LargerOf(run.limits, measured->limits);
  run.working = measured->working;
  return {};
}

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
      const double flops = 2 * static_cast<double>(shape.m) * weights, bytes = weights * format->info.code_bits / 8;
      const std::string_view activations = format->info.group > 0 ? std::string_view(rounding) : kExactActivations;
      const auto least = LeastTimeOf(run.limits, activations, flops, bytes);
      const double products = run.recorded() ? static_cast<double>(ProductsOfRun(flops, bytes, 1)) : 1;
      if (least) ns += times * products * least->ns;
    }
  }
  return ns * 1e-9;
}

// After a layer that took longer, limits are measured again: shared machines change within minutes. Those of a GPU take
// a moment.
constexpr std::chrono::seconds kLimitsLast{5};

// Half of what is free there.
std::size_t MemoryForCopies(const Backend& backend) {
  return static_cast<std::size_t>(0.5 * static_cast<double>(backend.free_bytes().value_or(AvailableMemoryBytes())));
}

// One layer at every number of tokens in every format.
Status TimeLayer(const std::vector<GemmShape>& shapes, KernelRun& run, Console& console) {
  const auto start = std::chrono::steady_clock::now();
  const auto timings = TimeKernels(run.backend, shapes, run.formats, run.protocol, MemoryForCopies(run.backend),
                                   console.progress(), run.kind);
  if (!timings) return timings.error();
  if (run.recorded() || std::chrono::steady_clock::now() - start > kLimitsLast) {
    if (auto status = MeasureLimitsOf(run); !status) return status;
  }
  std::vector<KernelSpeed> speeds;
  for (const KernelTiming& timing : *timings) speeds.push_back(run.SpeedOf(timing));
  console.Result(fmt::format("n={} k={} ({})\n{}", shapes[0].n, shapes[0].k, shapes[0].set,
                             ToPlainText(KernelSpeedTable(speeds))));
  run.timings.insert(run.timings.end(), timings->begin(), timings->end());
  return {};
}

KernelPlotInput PlotInput(const KernelRun& run) {
  KernelPlotInput plot;
  plot.read_gbps = run.limits.read_gbps;
  for (const KernelTiming& timing : run.timings) {
    plot.speeds.push_back(run.SpeedOf(timing));
    AddPeak(timing.activation, run.limits, plot.peaks);
  }
  return plot;
}

RunKind KindOf(Backend& backend, const BenchKernelsArguments& options) {
  if (backend.yardsticks() == nullptr) return RunKind::kSingle;
  return options.shared_input ? RunKind::kRecordedSharedInput : RunKind::kRecorded;
}

// How often the tokens of a recorded run are rounded.
std::string_view TokensRounded(const KernelRun& run) {
  if (run.backend.rounding() == kExactActivations) return "never";
  return run.kind == RunKind::kRecorded ? "for each product" : "once for a run";
}

// What computes, and what it could do at most.
std::string HeadingOf(const KernelRun& run) {
  if (!run.recorded()) {
    return fmt::format("{} threads; limits of this machine: {}; protocol {}\n", run.backend.threads(),
                       DescribeLimits(run.limits), run.protocol.id);
  }
  return fmt::format(
      "{}\nlimits measured in this run: {}\nwhile it multiplied: {}\nprotocol {}; a sample is a replayed run of many "
      "products, the tokens rounded {}; {} is the library alone on fp16 tokens\n",
      run.backend.hardware().value_or(std::string(run.backend.name())), DescribeLimits(run.limits),
      DescribeState(run.working), run.protocol.id, TokensRounded(run), run.reference());
}

// For --json, of a device with yardsticks.
json DescribeDevice(const KernelRun& run, const DeviceState& before) {
  const auto cache_bytes = run.backend.cache_bytes();
  return {{"name", run.backend.name()},
          {"hardware", run.backend.hardware().value_or(kNotMeasured)},
          {"rounding", run.backend.rounding()},
          {"tokens_rounded", TokensRounded(run)},
          {"cache_bytes", cache_bytes ? json(*cache_bytes) : json(nullptr)},
          {"state_before", ToJson(before)},
          {"state_working", ToJson(run.working)},
          {"state_after", ToJson(run.backend.state())}};
}

json LimitsOf(const KernelRun& run) {
  if (!run.recorded()) return ToJson(run.limits);
  return {{"read_gbps", run.limits.read_gbps}, {"fp16_gflops", run.limits.fp16_gflops}};
}

void PrintAll(const KernelRun& run, const std::optional<DeviceState>& before, const KernelPlotInput& plot,
              Console& console) {
  json rows = json::array();
  for (std::size_t i = 0; i < run.timings.size(); ++i) rows.push_back(ToJson(run.timings[i], plot.speeds[i]));
  json document = DescribeRun(run.backend.threads());
  document.update({{"limits", LimitsOf(run)}, {"protocol", run.protocol.id}, {"kernels", rows}});
  if (before) document["device"] = DescribeDevice(run, *before);
  console.Data(document);
}

Status TimeAll(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes,
               const BenchKernelsArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckPlots(options, shapes); !status) return status;
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  const int threads = (*backend)->threads();
  KernelRun run{**backend, formats, options.quick_timing ? kQuickTiming : kStandardTiming, KindOf(**backend, options)};
  if (!run.recorded()) run.busy = WarnOfLoad(console);  // a GPU replays what it was given by itself
  const auto before = run.recorded() ? std::optional<DeviceState>((*backend)->state()) : std::nullopt;
  if (auto status = MeasureLimitsOf(run); !status) return status;
  if (!run.recorded()) WarnOfFewCores(run.limits, threads, console);
  console.Result(HeadingOf(run));
  const std::string rounding = run.recorded() ? std::string((*backend)->rounding()) : RoundingOf(options.backend);
  const double least = LeastSeconds(run, shapes, rounding);
  console.Say(fmt::format("{} products to time{}", shapes.size() * formats.size(),
                          least < 1 ? "" : fmt::format(", which takes more than {}", FormatDuration(least))));
  for (const std::vector<GemmShape>& layer : ByLayer(shapes)) {
    if (auto status = TimeLayer(layer, run, console); !status) return status;
  }
  console.Result(fmt::format("limits (largest values measured): {}", DescribeLimits(run.limits)));
  KernelPlotInput plot = PlotInput(run);
  const std::string computes = run.recorded() ? (*backend)->hardware().value_or(std::string((*backend)->name()))
                                              : fmt::format("{} threads, {}, {}", threads, DescribeMachine(threads).cpu,
                                                            BackendLabel(options.backend));
  plot.setting = fmt::format("{}; protocol {}", computes, run.protocol.id);
  PrintAll(run, before, plot, console);
  return DrawPlots(options, plot, console);
}

Status RunKernels(const BenchKernelsArguments& options, Invocation& invocation) {
  const auto formats = ParseFormats(options.formats);
  if (!formats) return formats.error();
  if (options.shared_input && !OnGpu(options.backend)) {
    return Error{ErrorCode::kUsage, "--shared-input needs a --device whose products are replayed, such as cuda"};
  }
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
           fmt::format("Sets of shapes, separated by commas: {}. page: the shapes of the report page; gpu: layers that "
                       "fill a GPU; all: all but gpu; the others: linear layers of models. Default: page, on a GPU gpu",
                       ShapeSetNames()))
      .SeparatedByCommas()
      .Names()
      .Excludes(model);
  verb.Add("--tokens", options->tokens,
           fmt::format(
               "Numbers of tokens per product, separated by commas. Default: {} for layers of models, {} for gpu; page "
               "has its own",
               fmt::join(kModelTokens, ","), fmt::join(kGpuTokens, ",")))
      .SeparatedByCommas()
      .Between(1, 65536);
  verb.Add("--plot", options->plot, "Draw a roofline into this file, .png or .svg").Excludes(explain).NamesFile();
  verb.Add("--plot-tokens", options->plot_tokens,
           "Draw time against the number of tokens, relative to one token, into this file")
      .Excludes(explain)
      .NamesFile();
  verb.AddFlag("--quick-timing", options->quick_timing, "2 warm-up and 8 measured iterations instead of 15 and 100");
  verb.AddFlag("--shared-input", options->shared_input,
               "On a GPU: the products of a run share their input, so that its tokens are rounded once, not for each");
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunKernels(*options, invocation); });
}

}  // namespace marlin
