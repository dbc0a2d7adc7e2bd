#include "kernels/backends.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/reference_backend.h"

namespace marlin {
namespace {

constexpr std::array kBackends = {
    BackendRow{"cpu", "the fastest kernels of this machine", true, false,
               [](const CpuOptions& options, int) { return MakeCpuBackend(options); }},
    BackendRow{"cuda", "an NVIDIA device; cuda:1 is the second one", false, true,
               [](const CpuOptions& options, int number) {
                 return MakeCudaBackend(number, options.threads, options.activations);
               }},
    BackendRow{kReferenceBackend, "slow, simple fp32 on one thread", false, false,
               [](const CpuOptions&, int) -> Result<std::unique_ptr<Backend>> { return MakeReferenceBackend(); }},
};

}  // namespace

std::span<const BackendRow> Backends() { return kBackends; }

NamedBackend FindBackend(std::string_view name) {
  const std::size_t colon = name.find(':');
  const auto found = std::ranges::find(kBackends, name.substr(0, colon), &BackendRow::name);
  if (found == kBackends.end()) return {};
  if (colon == std::string_view::npos) return {&*found, 0};
  const std::string_view digits = name.substr(colon + 1);
  int number = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (!found->numbered || code != std::errc{} || end != digits.data() + digits.size() || number < 0) return {};
  return {&*found, number};
}

}  // namespace marlin
