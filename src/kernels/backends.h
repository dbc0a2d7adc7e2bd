// The one list of backends.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/cpu_backend.h"

namespace marlin {

struct BackendRow {
  std::string_view name;  // on the command line and in records
  std::string_view help;
  // It chooses rows of the kernel table, by the instruction set and the kernel that are asked for. Records of a backend
  // that does not are those of exact activations.
  bool has_kernels;
  bool numbered;  // there may be several, "cuda:0", "cuda:1", ...; the name alone is the first
  Result<std::unique_ptr<Backend>> (*make)(const CpuOptions& options, int number);  // Errors: as MakeCpuBackend
};

// The first is the default.
std::span<const BackendRow> Backends();

// A row of the list, and the number of the device that a name such as "cuda:1" asks for.
struct NamedBackend {
  const BackendRow* row = nullptr;  // null when there is none of this name
  int number = 0;
};
NamedBackend FindBackend(std::string_view name);

// The backend that all others are compared with.
inline constexpr const char* kReferenceBackend = "reference";

}  // namespace marlin
