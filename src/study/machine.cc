#include "study/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "base/sha256.h"
#include "base/thread_pool.h"

namespace marlin {
namespace {

// Values of every line "key : value" of a text file of the kernel, in order.
std::vector<std::string> Fields(const char* path, std::string_view key) {
  std::vector<std::string> values;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    values.push_back(begin == std::string::npos ? "" : line.substr(begin));
  }
  return values;
}

std::string CpuName() {
#if defined(__APPLE__)
  char name[256] = {};
  std::size_t size = sizeof name - 1;
  if (::sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  const auto names = Fields("/proc/cpuinfo", "model name");
  if (!names.empty() && !names[0].empty()) {
    // Virtual machines often hide the model; family and model number still tell the generation.
    const auto family = Fields("/proc/cpuinfo", "cpu family");
    const auto model = Fields("/proc/cpuinfo", "model\t");
    if (family.empty() || model.empty()) return names[0];
    return fmt::format("{} (family {} model {})", names[0], family[0], model[0]);
  }
  utsname system{};
  return ::uname(&system) == 0 ? system.machine : "unknown";
}

std::string OperatingSystem() {
  utsname system{};
  const std::string kernel = ::uname(&system) == 0 ? fmt::format("{} {}", system.sysname, system.release) : "unknown";
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string name = line.substr(12);
    std::erase(name, '"');
    return fmt::format("{}, {}", name, kernel);
  }
  return kernel;
}

std::string Affinity() {
#if defined(__linux__)
  const auto list = Fields("/proc/self/status", "Cpus_allowed_list");
  if (!list.empty()) return list[0];
#endif
  return "unknown";
}

std::size_t PhysicalMemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(size) : 0;
}

}  // namespace

record::Machine DescribeMachine(int threads) {
  record::Machine machine;
  machine.cpu = CpuName();
  machine.cores = static_cast<std::uint64_t>(AvailableThreads());
  machine.threads = static_cast<std::uint64_t>(threads);
  machine.memory_bytes = PhysicalMemoryBytes();
  machine.os = OperatingSystem();
  machine.affinity = Affinity();
  return machine;
}

std::string MachineId(const record::Machine& x) {
  return Sha256Hex(fmt::format("{} {} {} {}", x.cpu, x.threads, x.isa, x.affinity)).substr(0, 12);
}

MachineState ObserveMachine() {
  MachineState state;
  double load = 0;
  if (::getloadavg(&load, 1) == 1) state.load = load;
  const auto clocks = Fields("/proc/cpuinfo", "cpu MHz");
  double sum = 0;
  for (const std::string& clock : clocks) sum += std::strtod(clock.c_str(), nullptr);
  if (!clocks.empty()) state.clock_mhz = sum / static_cast<double>(clocks.size());
  return state;
}

std::size_t AvailableMemoryBytes() {
  const auto field = Fields("/proc/meminfo", "MemAvailable");
  if (field.empty()) return PhysicalMemoryBytes();
  return std::strtoull(field[0].c_str(), nullptr, 10) * 1024;
}

}  // namespace marlin
