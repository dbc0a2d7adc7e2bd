// Records for tests: made-up numbers with the shape of real ones. Not a part of the program.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/sha256.h"
#include "records/record.h"
#include "records/store.h"

namespace marlin::test {

struct Shape {
  std::string config = "fp4-g128";
  std::string label = "FP4 E2M1";
  std::uint64_t group = 128;
  double bits_per_weight = 4.139;
  double delta_nll = 0.03;   // mean over windows, nats per token
  double spread_nll = 0.01;  // of the windows around it
  double decode_tok_s = 120;
  double prefill_tok_s = 800;
};

struct Scene {
  std::string model = "SmolLM2-135M-Instruct";
  std::uint64_t parameters = 134'515'008;
  std::uint64_t quantized = 106'168'320;
  std::uint64_t windows = 40;
  std::uint64_t windows_total = 562;
  std::uint64_t seed = 1;
  bool quick_timing = false;  // quick-2/8 and quick-10/60 instead of 15/100
};

inline std::vector<double> NoisySamples(double mean, std::size_t count, Rng& rng) {
  std::vector<double> samples(count);
  for (double& x : samples) x = std::round(mean * (1 + 0.02 * rng.Normal()));
  return samples;
}

// Sums over the windows of a text; the same seed gives the same windows, so that rows are paired.
inline std::vector<double> WindowSums(const Scene& scene, const Shape& shape, std::uint64_t scored) {
  Rng text(scene.seed);
  Rng noise(scene.seed + shape.config.size() * 131 + static_cast<std::uint64_t>(shape.bits_per_weight * 1000));
  std::vector<double> sums(scene.windows);
  for (double& sum : sums) {
    const double base = 2.85 + 0.3 * text.Normal();
    const double change = shape.delta_nll == 0 ? 0 : shape.delta_nll + shape.spread_nll * noise.Normal();
    sum = static_cast<double>(scored) * (base + change);
  }
  return sums;
}

inline void FillSize(Record& record, const Scene& scene, const Shape& shape) {
  const bool baseline = record.config.kind == record::Kind::kBaseline;
  record.size.fp16_bytes = 2 * scene.parameters;
  record.size.quantized_parameters = baseline ? 0 : scene.quantized;
  record.size.quantized_tensor_bytes =
      baseline ? 0 : static_cast<std::uint64_t>(static_cast<double>(scene.quantized) * shape.bits_per_weight / 8);
  record.size.model_bytes =
      baseline ? 2 * scene.parameters : 2 * (scene.parameters - scene.quantized) + record.size.quantized_tensor_bytes;
  record.size.peak_rss_decode_bytes = record.size.model_bytes + 31'000'000;
}

inline record::Perplexity MakePerplexity(const Scene& scene, const Shape& shape) {
  record::Perplexity x;
  x.protocol = "ppl-512";
  x.metric_version = 1;
  x.text = {"WikiText-2 test", Sha256Hex("text"), true};
  x.tokenizer_sha256 = Sha256Hex("tokenizer of " + scene.model);
  x.bos = "none";
  x.ctx = 512;
  x.windows = scene.windows;
  x.windows_total = scene.windows_total;
  x.tokens = scene.windows * 512;
  x.scored_per_window = 511;
  x.scored_tokens = scene.windows * 511;
  x.scored_bytes = scene.windows * 511 * 4;
  x.window_nll = WindowSums(scene, shape, 511);
  x.half = record::HalfWindows{"ppl-512-half", 255, WindowSums(scene, shape, 255)};
  x.backend = "cpu";
  x.kernels = {"avx512-" + shape.config};
  x.seconds = 61.5;
  return x;
}

// KL follows the difference of the shape; every token falls into bins 19, 20 and 21.
inline record::Divergence MakeDivergence(const Scene& scene, const Shape& shape) {
  record::Divergence x;
  x.protocol = "kl-512";
  x.metric_version = 1;
  x.baseline_id = "0123456789ab";
  x.windows = scene.windows;
  x.scored_per_window = 511;
  Rng rng(scene.seed + 7);
  for (std::uint64_t w = 0; w < scene.windows; ++w) {
    x.window_kl.push_back(511 * shape.delta_nll * (1 + 0.1 * rng.Uniform()));
    x.window_same_top.push_back(440 + rng.Below(30));
    x.window_change.push_back(rng.Normal());
    x.window_change_squared.push_back(rng.Uniform());
  }
  x.kl_median = 0.5 * shape.delta_nll;
  x.kl_p90 = 2 * shape.delta_nll;
  x.kl_p99 = 5 * shape.delta_nll;
  x.kl_p999 = 9 * shape.delta_nll;
  x.kl_max = 20 * shape.delta_nll;
  x.kl_histogram = {1e-12, 4, std::vector<std::uint64_t>(58)};
  x.kl_histogram.counts[19] = scene.windows * 11;
  x.kl_histogram.counts[20] = scene.windows * 400;
  x.kl_histogram.counts[21] = scene.windows * 100;
  return x;
}

inline record::NoiseFloor MakeNoiseFloor() {
  return {"kl-512", 1, {"cpu/avx512", "cpu/scalar"}, 1, 511, {511 * 6e-13}, {511}, 5e-12};
}

inline Record MakeRecord(const Scene& scene, const Shape& shape) {
  Record record;
  const bool baseline = shape.config == "f16";
  record.id =
      Sha256Hex(scene.model + shape.config + std::to_string(scene.windows) + (scene.quick_timing ? "quick" : "15/100"));
  record.key = "key-" + record.id;
  record.created = "2025-03-01T10:00:00Z";
  record.command = "metal-marlin bench comparison --model " + scene.model;
  record.program = {"0.1.0", "0123456789ab", "GNU 12.2.0", "-O3 -DNDEBUG"};
  record.machine = {"Test CPU", 2,    2,   {"avx2", "avx512"}, "avx512", 24'696'061'952, "Linux 6.1", "0-1", 0.1,
                    1.9,        3500, 3480};
  record.model = {scene.model, "Q4_1", "gguf", Sha256Hex(scene.model), scene.parameters * 2, scene.parameters, "llama"};
  record.config.id = shape.config;
  record.config.kind = baseline ? record::Kind::kBaseline : record::Kind::kUniform;
  record.config.display_name = baseline ? "f16 (dequantized from Q4_1)" : shape.config;
  record.config.label = shape.label;
  record.config.group = shape.group;
  record.config.bits = baseline ? 16 : 4;
  record.config.method = baseline ? "none" : "rtn";
  record.config.same_grid_as_source = shape.label == "INT4 asymmetric";
  FillSize(record, scene, shape);
  record.perplexity = MakePerplexity(scene, shape);

  Rng rng(scene.seed + 99);
  record.throughput.emplace();
  record::Throughput& timed = *record.throughput;
  timed.protocol = {"15/100", 15, 100, 2.0};
  if (scene.quick_timing) timed.protocol = {"quick-2/8", 2, 8, 2.0};
  timed.interleaved = true;
  timed.backend = "cpu";
  timed.kernels = {"avx512-" + shape.config};
  timed.prefill = record::Prefill{512, NoisySamples(512e9 / shape.prefill_tok_s, timed.protocol.iterations, rng)};
  timed.decode.emplace();
  timed.decode->prompt_tokens = 512;
  if (scene.quick_timing) timed.decode->protocol = record::TimingProtocol{"quick-10/60", 10, 60, 2.0};
  timed.decode->samples_ns = NoisySamples(1e9 / shape.decode_tok_s, scene.quick_timing ? 60 : 100, rng);
  return record;
}

inline Shape BaselineShape(double decode_tok_s = 130, double prefill_tok_s = 900) {
  return {"f16", "FP16", 0, 16, 0, 0, decode_tok_s, prefill_tok_s};
}

// The six uniform configurations and the baseline.
inline std::vector<Shape> SevenShapes() {
  return {BaselineShape(),
          {"fp4-g32", "FP4 E2M1", 32, 4.500, 0.085, 0.020, 210, 1180},
          {"fp4-g64", "FP4 E2M1", 64, 4.250, 0.094, 0.021, 222, 1195},
          {"fp4-g128", "FP4 E2M1", 128, 4.139, 0.105, 0.025, 228, 1211},
          {"fp4-g256", "FP4 E2M1", 256, 4.083, 0.113, 0.024, 229, 1220},
          {"int4-g64", "INT4 asymmetric", 64, 4.3125, 0.052, 0.015, 205, 1090},
          {"int4-g128", "INT4 asymmetric", 128, 4.174, 0.083, 0.018, 214, 1102}};
}

inline StoredRecord Stored(Record record) {
  std::string file = RecordFileName(record);
  return {std::move(record), std::move(file)};
}

inline std::vector<StoredRecord> SevenRecords(const Scene& scene = {}) {
  std::vector<StoredRecord> records;
  std::string baseline_id;
  for (const Shape& shape : SevenShapes()) {
    Record record = MakeRecord(scene, shape);
    if (baseline_id.empty()) baseline_id = record.id;
    if (shape.config != "f16") record.perplexity->baseline_id = baseline_id;
    records.push_back(Stored(std::move(record)));
  }
  return records;
}

inline record::Kernels MakeKernels(const std::string& format) {
  record::Kernels kernels{{"15/100", 15, 100, 2.0}, {}};
  Rng rng(5);
  for (const auto& [m, n, k] : {std::tuple{1, 576, 1536}, std::tuple{512, 576, 1536}, std::tuple{512, 576, 576}}) {
    const auto flops = static_cast<std::uint64_t>(2) * static_cast<std::uint64_t>(m * n * k);
    record::Kernel kernel;
    kernel.kernel = "avx512-" + format;
    kernel.format = format;
    kernel.shape_set = "model";
    kernel.m = static_cast<std::uint64_t>(m);
    kernel.n = static_cast<std::uint64_t>(n);
    kernel.k = static_cast<std::uint64_t>(k);
    kernel.samples_ns = NoisySamples(static_cast<double>(flops) / 250, 100, rng);
    kernel.flops = flops;
    kernel.bytes_moved = static_cast<std::uint64_t>(n * k) / 2;
    kernel.max_relative_error = 1.5e-7;
    kernel.tolerance = 1e-5;
    kernel.checked_outputs = 576;
    kernels.shapes.push_back(kernel);
  }
  return kernels;
}

}  // namespace marlin::test
