// The result record: one measurement of one model in one configuration, and everything needed to judge or repeat it.
// Each record is one JSON file; docs/results_schema.md explains every field. Raw windows and samples are stored. Every
// reader computes the figures that follow from them again (derive.h).
//
// Quality, noise floor and speed of a configuration are records of their own: quality does not depend on the machine
// (keys.h). Files of version 1 hold all of them in one record.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

// In every file. The version is raised when the meaning of a field changes or a field goes; a new optional field does
// not raise it. Files from kOldestRecordVersion on are read.
inline constexpr std::string_view kRecordSchema = "metal-marlin.result";
inline constexpr std::uint64_t kRecordVersion = 2;
inline constexpr std::uint64_t kOldestRecordVersion = 1;

// The sections of a record. Optional = may be not measured; everything else is always there.
namespace record {

struct Program {
  std::string version;
  std::string commit;
  std::string compiler;
  std::string flags;
  std::optional<std::string> binary_sha256 = std::nullopt;  // of the program's file
};

struct Machine {
  std::string cpu;
  std::uint64_t cores = 0;    // usable by the process
  std::uint64_t threads = 0;  // used
  std::vector<std::string> isa_available;
  std::string isa;  // used
  std::uint64_t memory_bytes = 0;
  std::string os;
  std::string affinity;               // "0-1", the cores the process may run on
  std::optional<double> load_before;  // 1-minute average
  std::optional<double> load_after;
  std::optional<double> clock_mhz_before;
  std::optional<double> clock_mhz_after;
  // What products rounded activations to where a kernel for it exists; none = fp32.
  std::optional<std::string> activations = std::nullopt;
  // What computed, where it was not the processor: "NVIDIA H200 ...".
  std::optional<std::string> device = std::nullopt;
};

struct Model {
  std::string name;                // for people, without a path
  std::string source_type;         // of the weights: "BF16", "Q4_K_M"
  std::string container;           // "safetensors", "gguf"
  std::string sha256;              // of everything that decides its numbers
  std::uint64_t source_bytes = 0;  // of its tensors in the source
  std::uint64_t parameters = 0;    // tied tensors once
  std::string architecture;
  // Keys and tensors that the program does not know and the user accepted: the numbers leave them out.
  std::optional<std::vector<std::string>> accepted_unknown = std::nullopt;
};

enum class Kind { kBaseline, kUniform, kMixed, kImported };

struct Calibration {
  std::string name;  // "wikitext2", "bartowski-v3", or the file's own name
  std::string sha256;
  std::uint64_t windows = 0;
  std::uint64_t ctx = 0;
};

struct Config {
  std::string id;  // "f16", "fp4-g128", "mixed"
  Kind kind = Kind::kUniform;
  std::string display_name;  // "fp4-g128"; a baseline says where it comes from: "f16 (dequantized from Q4_1)"
  std::string label;         // the report's column "type": "FP4 E2M1"
  std::uint64_t group = 0;   // weights per scale; 0 = none, or more than one
  std::uint64_t bits = 0;    // per code; 0 = more than one
  std::string method;        // "rtn"; "none" for a baseline, "imported" for another program's file
  std::optional<std::string> method_versions = std::nullopt;  // "rotate 1, gptq 1"
  std::optional<Calibration> calibration;
  std::optional<std::string> plan_sha256;     // of the map tensor -> format, when it is not the same everywhere
  std::optional<std::uint64_t> budget_bytes;  // what quantized_tensor_bytes had to stay within
  std::optional<std::string> import_sha256;   // of the file that another program quantized
  bool quantized_embeddings = false;
  bool quantized_head = false;
  bool same_grid_as_source = false;  // the source's weights already lie on a similar grid
};

// The format of units that stay as they are.
inline constexpr std::string_view kKeptUnit = "16-bit";

// Linear layers of a block that share their input, and so a format.
struct PlanUnit {
  std::uint64_t layer = 0;
  std::string name;    // "q k v", "o", "gate up", "down"
  std::string format;  // chosen, or kKeptUnit
  std::uint64_t bytes = 0;
  std::optional<double> kl;        // expected when this unit alone has its format, nats per token
  std::optional<double> probe_kl;  // measured when this unit alone has the probe's format
};

// Why a mixed configuration gives each tensor its format.
struct Plan {
  Calibration text;    // that the sensitivities were measured on
  std::string method;  // that made the weights for that
  std::string probe;   // format that every unit was measured in
  std::vector<PlanUnit> units;
};

struct Size {
  std::uint64_t fp16_bytes = 0;                           // 2 bytes x parameters
  std::uint64_t model_bytes = 0;                          // tensors as written
  std::uint64_t quantized_parameters = 0;                 // in quantized tensors; 0 for a baseline
  std::uint64_t quantized_tensor_bytes = 0;               // codes, scales, zero points
  std::optional<std::uint64_t> peak_rss_decode_bytes;     // of the host's memory
  std::optional<std::uint64_t> peak_device_decode_bytes;  // of the device's memory, where that is not the host's
};

// Tokens that are decoded while the peak memory is measured, after a prompt of one word: the positions that a peak is
// known to cover.
inline constexpr std::uint64_t kPeakPositions = 16;

// What a sequence of the model costs beside the weights. With n positions: n times the sum of the bytes, if the prompt
// is computed at once.
struct Session {
  std::uint64_t max_context = 0;               // positions that the model was trained for
  std::uint64_t cache_bytes_per_position = 0;  // keys and values; layers with a window keep every position too
  std::uint64_t work_bytes_per_position = 0;   // everything else
};

struct Text {
  std::string name;  // "WikiText-2 test", "built-in sample", or the file's own name
  std::string sha256;
  bool standard = false;  // the hash is the one methodology.md names
};

// The second number of the same pass: a part of every window.
struct HalfWindows {
  std::string protocol;  // "ppl-512-half"
  std::uint64_t scored_per_window = 0;
  std::vector<double> window_nll;
};

struct Perplexity {
  std::string protocol;  // "ppl-512"
  std::uint64_t metric_version = 0;
  Text text;
  std::string tokenizer_sha256;
  std::string bos;  // "none", "prepended and at every window start"
  std::uint64_t ctx = 0;
  std::uint64_t windows = 0;        // evaluated: the first ones
  std::uint64_t windows_total = 0;  // in the text
  std::uint64_t tokens = 0;         // in the evaluated windows
  std::uint64_t scored_tokens = 0;
  std::uint64_t scored_bytes = 0;  // of text, behind the scored tokens
  std::uint64_t scored_per_window = 0;
  std::vector<double> window_nll;  // sum over the scored tokens of each window, nats
  std::optional<HalfWindows> half;
  std::string backend;
  std::optional<std::string> arithmetic = std::nullopt;  // what decides the bits: "cpu/avx2/int16 v1"
  std::vector<std::string> kernels;
  double seconds = 0;
  std::optional<std::string> baseline_id;  // record that a delta is taken against
};

// How many tokens fall between edges low x 10^(i / per_decade): the first count is below the first edge, the last not
// below the last edge.
struct LogHistogram {
  double low = 0;
  std::uint64_t per_decade = 0;
  std::vector<std::uint64_t> counts;
};

// How far the predictions are from the baseline's, on the windows of Perplexity, from the same pass.
struct Divergence {
  std::string protocol;  // "kl-512"
  std::uint64_t metric_version = 0;
  std::string baseline_id;  // record of what it diverges from
  std::uint64_t windows = 0;
  std::uint64_t scored_per_window = 0;
  // Sums over the scored tokens of each window.
  std::vector<double> window_kl;               // KL(base || this), nats
  std::vector<std::uint64_t> window_same_top;  // tokens whose most likely successor is the same
  std::vector<double> window_change;           // probability of the right token, this minus base
  std::vector<double> window_change_squared;
  // Over all scored tokens, nats.
  double kl_median = 0;
  double kl_p90 = 0;
  double kl_p99 = 0;
  double kl_p999 = 0;
  double kl_max = 0;
  LogHistogram kl_histogram;
};

// The divergence of a baseline from itself when other kernels compute it: a KL below that says nothing.
struct NoiseFloor {
  std::string protocol;
  std::uint64_t metric_version = 0;
  std::vector<std::string> kernels;  // two: that of the perplexity, and the other
  std::uint64_t windows = 0;         // the first ones
  std::uint64_t scored_per_window = 0;
  std::vector<double> window_kl;
  std::vector<std::uint64_t> window_same_top;
  double kl_max = 0;
  std::optional<std::string> baseline_id = std::nullopt;  // record of the baseline, where it is another record
};

struct TimingProtocol {
  std::string id;  // "15/100"; another id for anything shorter
  std::uint64_t warmup = 0;
  std::uint64_t iterations = 0;
  double trim_sigma = 0;
};

struct Prefill {
  std::uint64_t tokens = 0;  // per sample
  std::vector<double> samples_ns;
};

struct Decode {
  std::uint64_t prompt_tokens = 0;         // in the cache before the timed token
  std::vector<double> samples_ns;          // one token each
  std::optional<TimingProtocol> protocol;  // where it is not that of the whole
};

struct Throughput {
  TimingProtocol protocol;
  bool interleaved = false;        // with the other configurations of the same run
  std::optional<std::string> run;  // rows with the same value were timed interleaved
  std::string backend;
  std::optional<std::string> arithmetic = std::nullopt;  // as in Perplexity
  std::vector<std::string> kernels;
  std::optional<Prefill> prefill;
  std::optional<Decode> decode;
};

struct Kernel {
  std::string kernel;
  std::string format;
  std::string shape_set;  // "model", "page"
  std::uint64_t m = 0;
  std::uint64_t n = 0;
  std::uint64_t k = 0;
  std::vector<double> samples_ns;
  std::uint64_t flops = 0;        // 2 m n k
  std::uint64_t bytes_moved = 0;  // codes, scales, zero points, activations, outputs
  double max_relative_error = 0;  // against fp64, checked before timing
  double tolerance = 0;
  std::uint64_t checked_outputs = 0;
  bool in_cache = false;                                  // the weights stayed in the cache between samples
  std::optional<std::string> activations = std::nullopt;  // what it rounds them to; none = fp32
};

// All kernels of a record were timed by one protocol.
struct Kernels {
  TimingProtocol protocol;
  std::vector<Kernel> shapes;
};

// What the machine can do at most, measured in the same run.
struct Limits {
  double read_gbps = 0;
  double fma_gflops = 0;
  std::string fma_isa;
  std::optional<double> bf16_gflops = std::nullopt;  // none = no instructions for it, or not measured
  std::optional<double> int16_gops = std::nullopt;
  std::optional<double> int8_gops = std::nullopt;
};

}  // namespace record

struct Record {
  std::string id;       // lower-case hexadecimal, 12 to 64 digits
  std::string key;      // hash of what decides the numbers (keys.h); equal keys mean the same measurement made again
  std::string created;  // UTC, "2025-01-31T23:59:59Z"
  std::string command;  // that made it
  record::Program program;
  record::Machine machine;
  record::Model model;
  record::Config config;
  std::optional<record::Plan> plan;  // of a mixed configuration
  record::Size size;
  std::optional<record::Session> session;  // none in older files
  std::optional<record::Perplexity> perplexity;
  std::optional<record::Divergence> divergence;   // a baseline has none
  std::optional<record::NoiseFloor> noise_floor;  // of a baseline
  std::optional<record::Throughput> throughput;
  std::optional<record::Kernels> kernels;
  std::optional<record::Limits> limits;
};

}  // namespace marlin
