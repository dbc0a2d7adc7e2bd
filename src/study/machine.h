// The machine a record was measured on, and its state around the measurement.
#pragma once

#include <string>

#include "records/record.h"

namespace marlin {

// Everything but the instruction sets, which only the backend knows. threads: used by the run.
record::Machine DescribeMachine(int threads);

// 12 hexadecimal digits; equal where speeds can be compared: processor, threads, instruction set, cores.
std::string MachineId(const record::Machine& machine);

// 1-minute load average and mean clock of the cores; empty where the system does not tell.
struct MachineState {
  std::optional<double> load;
  std::optional<double> clock_mhz;
};
MachineState ObserveMachine();

// Bytes that can be used without swapping; 0 = unknown.
std::size_t AvailableMemoryBytes();

}  // namespace marlin
