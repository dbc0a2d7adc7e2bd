// A command of the program registers its options, then runs. One file per command; main.cc has the list.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command_line.h"
#include "kernels/backend.h"
#include "kernels/kernel.h"

namespace marlin {

struct Model;

// Weights are made with exact activations, so that they do not depend on what a machine rounds fast. Measurements use
// the production default.
inline constexpr const char* kExactActivations = "fp32";
inline constexpr const char* kUsedActivations = "bf16";

// Options of commands that run models.
struct BackendOptions {
  std::string backend = "cpu";
  std::string isa;                              // empty = the best this machine has
  std::string kernel;                           // empty = the first row of the kernel table that fits
  std::string activations = kExactActivations;  // precision in products
};

void AddBackendOptions(Verb& verb, BackendOptions& options);
// The same for commands that weights depend on: they never round activations, so they have no options for that.
void AddExactBackendOptions(Verb& verb, BackendOptions& options);

// The option that names a device, with its check.
Option AddDeviceOption(Verb& verb, const char* names, std::string& device, const std::string& help);

// The words of a command line that choose this backend.
std::vector<std::string> BackendWords(const BackendOptions& options);

// Errors: kUsage (no such backend, ISA, kernel), kUnsupported (this machine lacks the ISA).
Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options, int threads);

// The criteria by which that backend chooses its kernels; `options` must outlive it. Errors: as MakeBackend, kUsage for
// the reference.
Result<KernelOptions> KernelsOf(const BackendOptions& options);

// The lowest precision of activations that a kernel may use here: a name of kActivations.
std::string RoundingOf(const BackendOptions& options);

// The same options on another device. --isa and --kernel stay with the device that chooses by them.
BackendOptions OnDevice(BackendOptions options, const std::string& device);

// Warns where --kernel or --activations int8 changes nothing, as no weight of these models has such a kernel.
void WarnOfUnusedChoice(std::span<const Model* const> models, const BackendOptions& options, Console& console);

// The chosen instruction set in the program's own spelling; without a choice the best one of this machine.
std::string NameOfIsa(const BackendOptions& options);

// Name of the backend for records: "cpu/avx2", "cpu/avx512bf16/bf16" where activations are rounded, "reference".
std::string BackendLabel(const BackendOptions& options);

// Other kernels for the same products: the scalar ones, or the reference where those were chosen.
BackendOptions OtherKernels(const BackendOptions& options);

void RegisterBench(Verb root);
void RegisterCalibrate(Verb root);
void RegisterRecommend(Verb root);
void RegisterCompare(Verb root);
void RegisterEval(Verb root);
void RegisterCheckExport(Verb root);
void RegisterExport(Verb root);
void RegisterGenerate(Verb root);
void RegisterInspect(Verb root);
void RegisterPlan(Verb root);
void RegisterPull(Verb root);
void RegisterQuantize(Verb root);
void RegisterReport(Verb root);
void RegisterVerify(Verb root);

}  // namespace marlin
