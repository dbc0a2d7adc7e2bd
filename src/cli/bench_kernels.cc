// bench kernels: which kernel serves a format and why; or every format timed on the page's shapes, after a check in
// fp64.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/statistics.h"
#include "base/thread_pool.h"
#include "bench/kernel_throughput.h"
#include "bench/limits.h"
#include "cli/bench.h"
#include "formats/formats.h"
#include "io/checkpoint.h"
#include "kernels/kernel.h"
#include "study/machine.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Options {
  bool explain = false;
  bool quick_timing = false;
  std::string model;
  std::vector<std::string> formats;
  BackendOptions backend;
};

Result<std::vector<const FormatRow*>> ParseFormats(const std::vector<std::string>& names) {
  std::vector<const FormatRow*> formats;
  for (const std::string& name : names) {
    const auto format = ParseFormat(name);
    if (!format) return format.error();
    formats.push_back(*format);
  }
  if (!formats.empty()) return formats;
  for (const FormatRow& row : Formats()) formats.push_back(&row);
  return formats;
}

Result<std::vector<GemmShape>> ChooseShapes(const Options& options) {
  if (options.model.empty()) return PageShapes();
  const auto checkpoint = OpenCheckpoint(options.model);
  if (!checkpoint) return checkpoint.error();
  const auto config = ParseModelConfig(checkpoint->config);
  if (!config) return config.error();
  return ModelShapes(*config);
}

Status Explain(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes,
               const Options& options, Console& console) {
  KernelOptions kernel;
  kernel.isa = HostIsa();
  if (!options.backend.isa.empty()) {
    const auto isa = ParseIsa(options.backend.isa);
    if (!isa) return isa.error();
    kernel.isa &= *isa;
  }
  kernel.forced = options.backend.kernel;
  console.Result(fmt::format("this machine has: {}", IsaNames(HostIsa())));
  json document = json::array();
  for (const FormatRow* format : formats) {
    // Limits look at n and k alone; the last shape of the list has both at their largest.
    const KernelRequest request{&format->info, shapes.back().n, shapes.back().k};
    console.Result(fmt::format("{} (n={} k={})", format->info.name, request.rows, request.cols));
    json walk = json::array();
    for (const KernelVerdict& verdict : ExplainKernel(Kernels(), request, kernel)) {
      console.Result(fmt::format("  {} {:<18} {}", verdict.chosen ? "->" : "  ", verdict.row->name, verdict.reason));
      walk.push_back({{"kernel", verdict.row->name}, {"chosen", verdict.chosen}, {"reason", verdict.reason}});
    }
    document.push_back({{"format", format->info.name}, {"walk", walk}});
  }
  console.Data(document);
  return {};
}

void PrintTiming(const KernelTiming& timing, const MachineLimits& limits, Console& console, json& rows) {
  const TimingSummary summary = SummarizeTimings(timing.samples_ns);
  const double gflops = static_cast<double>(timing.flops) / summary.mean;
  const double gbps = static_cast<double>(timing.bytes_moved) / summary.mean;
  console.Result(fmt::format("  {:<10} {:<16} {:>10.1f} {:>9.1f} {:>5.0f} % {:>8.1f} {:>5.0f} % {:>9.1e}{}{}",
                             timing.format->info.name, timing.kernel, summary.mean / 1e3, gflops,
                             100 * gflops / limits.fma_gflops, gbps, 100 * gbps / limits.read_gbps, timing.max_error,
                             timing.in_cache ? "  in cache" : "", summary.unstable() ? "  unstable" : ""));
  rows.push_back({{"m", timing.shape.m},
                  {"n", timing.shape.n},
                  {"k", timing.shape.k},
                  {"format", timing.format->info.name},
                  {"kernel", timing.kernel},
                  {"mean_ns", summary.mean},
                  {"median_ns", summary.median},
                  {"cv", summary.cv},
                  {"unstable", summary.unstable()},
                  {"gflops", gflops},
                  {"gbps", gbps},
                  {"max_error", timing.max_error},
                  {"checked_outputs", timing.checked_outputs},
                  {"in_cache", timing.in_cache},
                  {"samples_ns", timing.samples_ns}});
}

Status TimeAll(const std::vector<const FormatRow*>& formats, const std::vector<GemmShape>& shapes,
               const Options& options, Invocation& invocation) {
  Console& console = invocation.console;
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  MachineLimits limits;
  {
    ThreadPool pool((*backend)->threads());
    limits = MeasureLimits(pool);
  }
  const TimingProtocol protocol = options.quick_timing ? kQuickTiming : kStandardTiming;
  console.Result(fmt::format("{} threads; limits of this machine: {:.1f} GB/s read, {:.1f} GFLOP/s ({}); protocol {}",
                             (*backend)->threads(), limits.read_gbps, limits.fma_gflops, limits.fma_isa, protocol.id));
  json rows = json::array();
  for (const GemmShape& shape : shapes) {
    const auto memory = static_cast<std::size_t>(0.5 * static_cast<double>(AvailableMemoryBytes()));
    const auto timings = TimeKernels(**backend, shape, formats, protocol, memory, console.progress());
    if (!timings) return timings.error();
    console.Result(fmt::format("m={} n={} k={}", shape.m, shape.n, shape.k));
    console.Result(fmt::format("  {:<10} {:<16} {:>10} {:>9} {:>7} {:>8} {:>7} {:>9}", "format", "kernel", "us",
                               "GFLOP/s", "share", "GB/s", "share", "error"));
    for (const KernelTiming& timing : *timings) PrintTiming(timing, limits, console, rows);
  }
  console.Data({{"limits", {{"read_gbps", limits.read_gbps}, {"fma_gflops", limits.fma_gflops}}},
                {"protocol", protocol.id},
                {"threads", (*backend)->threads()},
                {"kernels", rows}});
  return {};
}

Status RunKernels(const Options& options, Invocation& invocation) {
  const auto formats = ParseFormats(options.formats);
  if (!formats) return formats.error();
  const auto shapes = ChooseShapes(options);
  if (!shapes) return shapes.error();
  if (options.explain) return Explain(*formats, *shapes, options, invocation.console);
  return TimeAll(*formats, *shapes, options, invocation);
}

}  // namespace

void RegisterBenchKernels(CLI::App& bench, Selection& selection) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      AddVerb(bench, selection, "kernels", "Time matrix products by themselves, or explain which kernel is chosen",
              "metal-marlin bench kernels --explain -f fp4-g128");
  app->add_flag("--explain", options->explain, "Print the walk through the kernel table, nothing else");
  app->add_option("-f,--format", options->formats, "Weight format; may be repeated. Default: all");
  app->add_option("-m,--model", options->model, "Use this model's shapes instead of the page's");
  app->add_flag("--quick-timing", options->quick_timing, "2 warm-up and 8 measured iterations instead of 15 and 100");
  AddBackendOptions(*app, options->backend);
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) { return RunKernels(*options, invocation); };
  });
}

}  // namespace marlin
