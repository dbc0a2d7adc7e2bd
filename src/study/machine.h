// The machine a record was measured on, and its state around the measurement.
#pragma once

#include "records/record.h"

namespace marlin {

// Everything but the instruction sets, which only the backend knows. threads: used by the run.
record::Machine DescribeMachine(int threads);

// 1-minute load average and mean clock of the cores; empty where the system does not tell.
struct MachineState {
  std::optional<double> load;
  std::optional<double> clock_mhz;
};
MachineState ObserveMachine();

// Bytes that can be used without swapping; 0 = unknown.
std::size_t AvailableMemoryBytes();

}  // namespace marlin
