// Tables of the speeds of `bench throughput` and `bench kernels`, which are not recorded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "report/table.h"

namespace marlin {

// What part of what the machine can do was reached.
struct LimitShare {
  double share = 0;
  std::string limit;  // "read bandwidth", "fp32 peak"
};

// A test of llama-bench on one model in one configuration.
struct ThroughputRow {
  std::string model;    // its name
  std::string path;     // its path
  std::string weights;  // "fp4-g128"
  std::string kernels;  // that serve it
  int threads = 0;
  std::vector<std::string> accepted_unknown{};  // keys and tensors that the model is run without
  std::string test;                             // "pp512", "tg128"
  double mean_tok_s = 0;
  std::optional<double> deviation_tok_s;  // of the runs; of one there is none
  double median_tok_s = 0;
  bool unstable = false;                      // as TimingSummary says
  bool busy = false;                          // other programs ran just before
  std::optional<std::uint64_t> weight_bytes;  // read per token; of tg
  std::optional<double> gbps;                 // of these bytes; of tg
  std::optional<double> gflops;               // of the linear layers; of pp
  std::optional<LimitShare> limit;            // empty = the limits were not measured
};

Table ThroughputTable(std::span<const ThroughputRow> rows);

// A head line, then one line per row; numbers with all their digits, what does not apply or was not measured is empty.
std::string ThroughputCsv(std::span<const ThroughputRow> rows);

// One product in one format.
struct KernelSpeed {
  std::string set;  // of shapes: "page", "llama3-8b"
  std::size_t m = 0;
  std::size_t n = 0;
  std::size_t k = 0;
  std::string format;
  std::string kernel;
  double us = 0;
  double flops = 0;
  double bytes = 0;
  std::optional<double> peak_gflops;  // of its activations' precision
  std::optional<LimitShare> limit;
  double max_error = 0;
  bool in_cache = false;
  bool unstable = false;
  bool busy = false;  // other programs ran just before
  // What the product was timed beside, on the same shape: "cuBLAS FP16". Empty = nothing.
  std::string reference{};
  std::optional<double> reference_us{};  // empty = it takes no such shape
  bool reference_unstable = false;
  bool launched = false;  // one by one, where products are replayed: the time of launches counts

  std::optional<double> times_as_fast() const {
    return reference_us ? std::optional<double>(*reference_us / us) : std::nullopt;
  }
  double gflops() const { return flops / us / 1e3; }
  double gbps() const { return bytes / us / 1e3; }
  double intensity() const { return flops / bytes; }  // FLOP per byte
};

// Without the shape, which one table has in common. Columns for the reference where a row has one.
Table KernelSpeedTable(std::span<const KernelSpeed> speeds);

}  // namespace marlin
