// Writes the jobs of a comparison as scripts for engines that exist: Slurm and GNU make.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "study/job_list.h"

namespace marlin {

struct EmitOptions {
  std::vector<std::string> command;  // the program and its options, without --job
  std::string folder;                // where relative paths begin
  int threads = 1;                   // of one job
};

// "slurm, make"
std::vector<std::string> EmitterNames();

// The script. `jobs` as ListJobs lists them. name: one of EmitterNames.
std::string EmitJobs(std::string_view name, const std::vector<Job>& jobs, const EmitOptions& options);

// The words of a command line without what asks for a list or a script, and with the instruction set and the precision
// of activations named: a job has the same arithmetic on every machine that can run it.
std::vector<std::string> JobCommand(std::vector<std::string> words, const std::string& program, const std::string& isa,
                                    const std::string& activations, int threads);

}  // namespace marlin
