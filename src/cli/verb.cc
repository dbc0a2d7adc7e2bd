#include "cli/verb.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/cpu_backend.h"
#include "kernels/isa.h"
#include "kernels/reference_backend.h"

namespace marlin {

CLI::App* AddVerb(CLI::App& parent, Selection& selection, const std::string& name, const std::string& description,
                  const std::string& example) {
  CLI::App* app = parent.add_subcommand(name, description);
  app->option_defaults()->always_capture_default();  // --help shows them
  CommonOptions& common = selection.common;
  app->add_option("-t,--threads", common.threads, "Threads; 0 = every core this process may use")
      ->check(CLI::Range(0, 1024));
  app->add_flag("--json", common.json, "Data as JSON on stdout; progress stays on stderr");
  auto* verbose = app->add_flag("-v,--verbose", common.verbose, "Say more");
  app->add_flag("-q,--quiet", common.quiet, "Say only results, warnings and errors")->excludes(verbose);
  app->footer("Example:\n  " + example);
  return app;
}

std::string QuoteForShell(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_of(" \t\n\"'\\$`|&;<>()*?#~![]{}") == std::string::npos;
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

void AddBackendOptions(CLI::App& app, BackendOptions& options, const char* activations) {
  app.add_option("--backend", options.backend, "cpu, or reference: slow, simple fp32 on one thread")
      ->check(CLI::IsMember({"cpu", "reference"}));
  app.add_option("--isa", options.isa,
                 fmt::format("Instruction set to use, with those that it extends ({})", IsaLevelNames()));
  options.activations = activations;
  std::vector<std::string> names;
  for (const ActivationsName& known : kActivations) names.emplace_back(known.name);
  app.add_option(
         "--activations", options.activations,
         "What matrix products may round activations to where a kernel for it exists (bf16: int16 where that is "
         "faster and more exact); sums are fp32 or exact")
      ->check(CLI::IsMember(names));
  app.add_option("--kernel", options.kernel, "Only this row of the kernel table (see: bench kernels --explain)");
}

namespace {

Result<CpuOptions> CpuOptionsOf(const BackendOptions& options) {
  CpuOptions cpu;
  if (!options.isa.empty()) {
    const auto isa = ParseIsa(options.isa);
    if (!isa) return isa.error();
    cpu.isa = *isa;
  }
  cpu.kernel = options.kernel;
  const auto activations = ParseActivations(options.activations);
  if (!activations) return activations.error();
  cpu.activations = *activations;
  return cpu;
}

}  // namespace

std::string RoundingOf(const BackendOptions& options) {
  if (options.backend == "reference") return kExactActivations;
  const auto cpu = CpuOptionsOf(options);
  if (!cpu) return kExactActivations;
  return std::string(NameOf(RoughestActivations({cpu->isa.value_or(UsualIsa()), cpu->activations, cpu->kernel})));
}

std::string BackendLabel(const BackendOptions& options) {
  if (options.backend == "reference") return options.backend;
  const auto asked = ParseIsa(options.isa);
  const std::string label =
      fmt::format("{}/{}", options.backend, HighestLevel(options.isa.empty() || !asked ? UsualIsa() : *asked));
  if (!options.kernel.empty()) return label + " " + options.kernel;
  const std::string rounding = RoundingOf(options);
  return rounding == kExactActivations ? label : label + "/" + rounding;
}

std::vector<std::string> BackendWords(const BackendOptions& options) {
  std::vector<std::string> words = {"--backend", options.backend};
  if (!options.isa.empty()) words.insert(words.end(), {"--isa", options.isa});
  if (!options.kernel.empty()) words.insert(words.end(), {"--kernel", options.kernel});
  words.insert(words.end(), {"--activations", options.activations});
  return words;
}

BackendOptions OtherKernels(const BackendOptions& options) {
  const bool scalar = BackendLabel(options).find("scalar") != std::string::npos;
  BackendOptions others;
  others.backend = scalar ? "reference" : "cpu";
  others.isa = scalar ? "" : "scalar";
  return others;
}

Result<KernelOptions> KernelsOf(const BackendOptions& options) {
  if (options.backend == "reference") {
    return Error{ErrorCode::kUsage, "kernels are chosen among those of --backend cpu; the reference has none"};
  }
  const auto cpu = CpuOptionsOf(options);
  if (!cpu) return cpu.error();
  Result<KernelOptions> kernels = UsableKernels(*cpu);
  if (kernels) kernels->forced = options.kernel;
  return kernels;
}

Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options, int threads) {
  if (options.backend == "reference") {
    if (!options.isa.empty() || !options.kernel.empty()) {
      return Error{ErrorCode::kUsage, "--isa and --kernel choose among the kernels of --backend cpu"};
    }
    return MakeReferenceBackend();
  }
  auto cpu = CpuOptionsOf(options);
  if (!cpu) return cpu.error();
  cpu->threads = threads;
  return MakeCpuBackend(*cpu);
}

}  // namespace marlin
