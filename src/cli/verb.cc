#include "cli/verb.h"

#include <fmt/format.h>

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
  app->add_option("--threads", common.threads, "Threads; 0 = every core this process may use")
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

void AddBackendOptions(CLI::App& app, BackendOptions& options) {
  app.add_option("--backend", options.backend, "cpu, or reference: slow, simple fp32 on one thread")
      ->check(CLI::IsMember({"cpu", "reference"}));
  app.add_option("--isa", options.isa, "Highest instruction set to use (scalar, avx2, avx512; neon)");
  app.add_option("--kernel", options.kernel, "Only this row of the kernel table (see: bench kernels --explain)");
}

std::string BackendLabel(const BackendOptions& options) {
  if (options.backend == "reference") return options.backend;
  std::string label = options.backend + "/" + options.isa;
  if (options.isa.empty()) {
    for (const IsaLevel& level : IsaLevels()) {
      if ((level.bits & ~HostIsa()) == 0) label = options.backend + "/" + std::string(level.name);
    }
  }
  return options.kernel.empty() ? label : label + " " + options.kernel;
}

BackendOptions OtherKernels(const BackendOptions& options) {
  const bool scalar = BackendLabel(options).find("scalar") != std::string::npos;
  BackendOptions others;
  others.backend = scalar ? "reference" : "cpu";
  others.isa = scalar ? "" : "scalar";
  return others;
}

Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options, int threads) {
  if (options.backend == "reference") {
    if (!options.isa.empty() || !options.kernel.empty()) {
      return Error{ErrorCode::kUsage, "--isa and --kernel choose among the kernels of --backend cpu"};
    }
    return MakeReferenceBackend();
  }
  CpuOptions cpu;
  cpu.threads = threads;
  if (!options.isa.empty()) {
    const auto isa = ParseIsa(options.isa);
    if (!isa) return isa.error();
    cpu.isa = *isa;
  }
  cpu.kernel = options.kernel;
  return MakeCpuBackend(cpu);
}

}  // namespace marlin
