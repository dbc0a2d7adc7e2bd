#include "kernels/backends.h"

#include <algorithm>
#include <array>

#include "kernels/reference_backend.h"

namespace marlin {
namespace {

constexpr std::array kBackends = {
    BackendRow{"cpu", "the fastest kernels of this machine", true, MakeCpuBackend},
    BackendRow{kReferenceBackend, "slow, simple fp32 on one thread", false,
               [](const CpuOptions&) -> Result<std::unique_ptr<Backend>> { return MakeReferenceBackend(); }},
};

}  // namespace

std::span<const BackendRow> Backends() { return kBackends; }

const BackendRow* FindBackend(std::string_view name) {
  const auto found = std::ranges::find(kBackends, name, &BackendRow::name);
  return found == kBackends.end() ? nullptr : &*found;
}

}  // namespace marlin
