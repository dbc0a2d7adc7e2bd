#include "cli/verb.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "bench/weight_traffic.h"
#include "kernels/backends.h"
#include "kernels/cpu_backend.h"
#include "kernels/isa.h"

namespace marlin {

Option AddDeviceOption(Verb& verb, const char* names, std::string& device, const std::string& help) {
  return verb.Add(names, device, help).Explains([](const std::string& word) {
    return FindBackend(word).row != nullptr ? "" : fmt::format("{} is no device; want cpu, cuda or cuda:NUMBER", word);
  });
}

void AddExactBackendOptions(Verb& verb, BackendOptions& options) {
  std::string help;
  for (const BackendRow& row : Backends()) {
    help += fmt::format("{}{}: {}", help.empty() ? "" : "; ", row.name, row.help);
  }
  AddDeviceOption(verb, "--device,--backend", options.backend, help);
  verb.Add("--isa", options.isa,
           fmt::format("Instruction set to use, including those that it extends ({})", IsaLevelNames()))
      .Names();
}

void AddBackendOptions(Verb& verb, BackendOptions& options) {
  AddExactBackendOptions(verb, options);
  options.activations = kUsedActivations;
  std::vector<std::string> names;
  for (const ActivationsName& known : kActivations) names.emplace_back(known.name);
  verb.Add("--activations", options.activations,
           "Lowest activation precision allowed in matrix products; a more precise kernel is used where none exists. "
           "bf16 becomes int16 where that is faster, and fp16 on a GPU")
      .OneOf(names);
  verb.Add("--kernel", options.kernel, "Use only this kernel (names: bench kernels --explain)");
}

namespace {

// Whether the options of kernels say anything.
bool HasKernels(const BackendOptions& options) {
  const BackendRow* const row = FindBackend(options.backend).row;
  return row != nullptr && row->has_kernels;
}

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
  if (!HasKernels(options)) return kExactActivations;
  const auto cpu = CpuOptionsOf(options);
  if (!cpu) return kExactActivations;
  return std::string(NameOf(RoughestActivations({cpu->isa.value_or(UsualIsa()), cpu->activations, cpu->kernel})));
}

std::string NameOfIsa(const BackendOptions& options) {
  if (!HasKernels(options)) return std::string(IsaLevels()[0].name);
  const auto asked = ParseIsa(options.isa);
  return std::string(HighestLevel(options.isa.empty() || !asked ? UsualIsa() : *asked));
}

std::string BackendLabel(const BackendOptions& options) {
  if (!HasKernels(options)) return options.backend;
  const std::string label = fmt::format("{}/{}", options.backend, NameOfIsa(options));
  if (!options.kernel.empty()) return label + " " + options.kernel;
  const std::string rounding = RoundingOf(options);
  return rounding == kExactActivations ? label : label + "/" + rounding;
}

std::vector<std::string> BackendWords(const BackendOptions& options) {
  std::vector<std::string> words = {"--device", options.backend};
  if (!options.isa.empty()) words.insert(words.end(), {"--isa", options.isa});
  if (!options.kernel.empty()) words.insert(words.end(), {"--kernel", options.kernel});
  words.insert(words.end(), {"--activations", options.activations});
  return words;
}

BackendOptions OnDevice(BackendOptions options, const std::string& device) {
  options.backend = device;
  if (HasKernels(options)) return options;
  options.isa.clear();
  options.kernel.clear();
  return options;
}

BackendOptions OtherKernels(const BackendOptions& options) {
  const bool scalar = BackendLabel(options).find("scalar") != std::string::npos;
  BackendOptions others;
  if (scalar) others.backend = kReferenceBackend;
  others.isa = scalar ? "" : "scalar";
  return others;
}

void WarnOfUnusedChoice(std::span<const Model* const> models, const BackendOptions& options, Console& console) {
  std::vector<std::string> kernels;
  for (const Model* model : models) {
    std::ranges::move(LinearKernels(*model), std::back_inserter(kernels));
    kernels.emplace_back(model->head().kernel());
  }
  std::ranges::sort(kernels);
  kernels.erase(std::unique(kernels.begin(), kernels.end()), kernels.end());
  const auto used = [&](const auto& is_chosen) { return std::ranges::any_of(kernels, is_chosen); };
  const bool int8 = options.activations == "int8";
  if (int8 && !used([](const std::string& kernel) { return ActivationOf(kernel) == "int8"; })) {
    console.Warn(fmt::format("--activations int8 changes nothing here: no kernel rounds to int8 for these weights ({})",
                             fmt::join(kernels, ", ")));
  }
  if (!options.kernel.empty() && !used([&](const std::string& kernel) { return kernel == options.kernel; })) {
    console.Warn(fmt::format("--kernel {} changes nothing here: it serves none of these weights ({})", options.kernel,
                             fmt::join(kernels, ", ")));
  }
}

Result<KernelOptions> KernelsOf(const BackendOptions& options) {
  if (!HasKernels(options)) {
    return Error{
        ErrorCode::kUsage,
        "only --device cpu has kernels to choose from; on a GPU, bench kernels names the kernel of each format"};
  }
  const auto cpu = CpuOptionsOf(options);
  if (!cpu) return cpu.error();
  Result<KernelOptions> kernels = UsableKernels(*cpu);
  if (kernels) kernels->forced = options.kernel;
  return kernels;
}

Result<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options, int threads) {
  const auto [row, number] = FindBackend(options.backend);
  MARLIN_CHECK(row != nullptr, "the options name a backend");
  if (!row->has_kernels && (!options.isa.empty() || !options.kernel.empty())) {
    return Error{ErrorCode::kUsage, "--isa and --kernel choose among the kernels of --device cpu"};
  }
  auto cpu = CpuOptionsOf(options);
  if (!cpu) return cpu.error();
  cpu->threads = threads;
  return row->make(*cpu, number);
}

}  // namespace marlin
