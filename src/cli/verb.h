// A verb of the program: registers its options, then runs. One file per verb; the list stands in main.cc.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/console.h"
#include "kernels/backend.h"
#include "kernels/kernel.h"

namespace marlin {

// Options that every verb has.
struct CommonOptions {
  int threads = 0;  // 0 = all cores this process may use
  bool json = false;
  bool verbose = false;
  bool quiet = false;
};

// Weights are made with exact activations, so that they do not depend on the machine; measured is what is used.
inline constexpr const char* kExactActivations = "fp32";
inline constexpr const char* kUsedActivations = "bf16";

// Options of verbs that run models.
struct BackendOptions {
  std::string backend = "cpu";
  std::string isa;                              // empty = the best this machine has
  std::string kernel;                           // empty = the first row of the kernel table that fits
  std::string activations = kExactActivations;  // what products round them to
};

// What a verb needs while it runs.
struct Invocation {
  const CommonOptions& common;
  Console& console;
  std::string command;  // the command line, for records
};

using Run = std::function<Status(Invocation&)>;

// Set by the verb that was named on the command line.
struct Selection {
  CommonOptions common;
  Run run;
};

// Adds a subcommand with the common options and an example shown by --help.
CLI::App* AddVerb(CLI::App& parent, Selection& selection, const std::string& name, const std::string& description,
                  const std::string& example);

// The word as a shell would take it again.
std::string QuoteForShell(const std::string& word);

// activations: the default.
void AddBackendOptions(CLI::App& app, BackendOptions& options, const char* activations = kUsedActivations);

// The words of a command line that choose this backend.
std::vector<std::string> BackendWords(const BackendOptions& options);

// Errors: kUsage (no such backend, ISA, kernel), kUnsupported (this machine lacks the ISA).
Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options, int threads);

// What that backend chooses its kernels by; `options` must outlive it. Errors: as MakeBackend, kUsage for the
// reference.
Result<KernelOptions> KernelsOf(const BackendOptions& options);

// What the roughest kernel that may be used here rounds activations to: a name of kActivations.
std::string RoundingOf(const BackendOptions& options);

// What computes, for records: "cpu/avx2", "cpu/avx512bf16/bf16" where activations are rounded, "reference".
std::string BackendLabel(const BackendOptions& options);

// Other kernels for the same products: the scalar ones, or the reference where those were chosen.
BackendOptions OtherKernels(const BackendOptions& options);

void RegisterBench(CLI::App& app, Selection& selection);
void RegisterCalibrate(CLI::App& app, Selection& selection);
void RegisterCompare(CLI::App& app, Selection& selection);
void RegisterEval(CLI::App& app, Selection& selection);
void RegisterGenerate(CLI::App& app, Selection& selection);
void RegisterInspect(CLI::App& app, Selection& selection);
void RegisterPlan(CLI::App& app, Selection& selection);
void RegisterQuantize(CLI::App& app, Selection& selection);
void RegisterReport(CLI::App& app, Selection& selection);
void RegisterVerify(CLI::App& app, Selection& selection);

}  // namespace marlin
