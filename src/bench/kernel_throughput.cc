#include "bench/kernel_throughput.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "base/check.h"
#include "base/thread_pool.h"
#include "bench/limits.h"
#include "bench/operands.h"
#include "bench/recorded_run.h"
#include "bench/reference_product.h"
#include "bench/weight_traffic.h"
#include "formats/encoded_matrix.h"
#include "kernels/kernel.h"

namespace marlin {
namespace {

// fp32 sums of k products of random sign stray by about sqrt(k) * 2^-24 of their size: 7e-6 at k = 14336. Rounding x to
// bf16 (fp16) strays by up to 2^-9 (2^-11) of each product, to int8 (int16) by half of 1/127 (1/32639) of the largest
// of 128; all sum like noise.
double Tolerance(std::string_view kernel) {
  if (ActivationOf(kernel) == "fp16") return 1e-3;
  const KernelRow* row = FindKernel(kernel);
  if (row == nullptr || row->activations == Activations::kFp32) return 2e-5;
  if (row->activations == Activations::kInt16) return 1e-4;
  return row->activations == Activations::kBf16 ? 4e-3 : 2e-2;
}

// Outputs of one row that are compared: all up to here, else as many spread over the row, both ends included. The same
// of tokens.
constexpr std::size_t kCheckedColumns = 256;
constexpr std::size_t kCheckedTokens = 512;

// The i-th of `count` places spread over `all`.
std::size_t SpreadPlace(std::size_t i, std::size_t count, std::size_t all) {
  return count == 1 ? 0 : i * (all - 1) / (count - 1);
}

struct Candidate {
  const FormatRow* format = nullptr;
  EncodedMatrix encoded;
  std::vector<std::unique_ptr<Weight>> copies;
  std::size_t next = 0;
  bool in_cache = false;
};

struct Operands {
  std::unique_ptr<Buffer> x, y;  // [m, k], [m, n]
  std::vector<float> host_x;
};

Result<Candidate> MakeCandidate(Backend& backend, const FormatRow& format, MatrixView<const float> weights,
                                std::size_t memory_bytes, ThreadPool& pool) {
  Candidate candidate;
  candidate.format = &format;
  candidate.encoded = Encode(format, weights, pool);
  const std::size_t wanted_bytes = BytesToRotate(backend);
  auto weight = backend.Pack(candidate.encoded.view());
  std::size_t held = 0;
  for (;;) {
    if (!weight) return weight.error();
    const std::size_t bytes = (*weight)->resident_bytes();
    held += bytes;
    candidate.copies.push_back(std::move(*weight));
    if (held > wanted_bytes || held + bytes > memory_bytes) break;
    weight = candidate.copies[0]->Clone();
  }
  candidate.in_cache = held <= wanted_bytes;
  return candidate;
}

void Multiply(Backend& backend, const Weight& weight, const GemmShape& shape, const Operands& act) {
  const Weight* const w = &weight;
  const DeviceTensor y = View(act.y, shape.m, shape.n);
  backend.Matmul({&w, 1}, {}, View(act.x, shape.m, shape.k), {&y, 1});
}

struct Check {
  double max_error = 0;
  std::size_t outputs = 0;
};

// kCheckedTokens rows of activations against kCheckedColumns weight rows, in fp64.
Result<Check> CompareWithReference(Backend& backend, const Candidate& candidate, const GemmShape& shape,
                                   const Operands& act, ThreadPool& pool) {
  std::vector<float> got(shape.m * shape.n, NAN);
  const DeviceTensor y = View(act.y, shape.m, shape.n);
  backend.Upload(got, y);  // poison: an output that is not written shows
  Multiply(backend, *candidate.copies[0], shape, act);
  if (auto status = backend.Read(y, got); !status) return status.error();
  const std::size_t columns = std::min(kCheckedColumns, shape.n), tokens = std::min(kCheckedTokens, shape.m);
  std::vector<double> difference(columns, 0);
  std::vector<double> peak(columns, 0);
  pool.Split(columns, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> row(shape.k);
    for (std::size_t c = begin; c < end; ++c) {
      const std::size_t n = SpreadPlace(c, columns, shape.n);
      DecodeRow(candidate.encoded.view(), n, row);
      for (std::size_t t = 0; t < tokens; ++t) {
        const std::size_t m = SpreadPlace(t, tokens, shape.m);
        double want = 0;
        const float* x = act.host_x.data() + m * shape.k;
        for (std::size_t k = 0; k < shape.k; ++k) want += static_cast<double>(row[k]) * x[k];
        const double off = std::abs(got[m * shape.n + n] - want);
        difference[c] = std::isnan(off) ? INFINITY : std::max(difference[c], off);
        peak[c] = std::max(peak[c], std::abs(want));
      }
    }
  });
  const double worst = *std::max_element(difference.begin(), difference.end());
  return Check{worst / *std::max_element(peak.begin(), peak.end()), tokens * columns};
}

std::uint64_t BytesMoved(const FormatInfo& format, const GemmShape& shape) {
  return SizeOfEncoded(format, shape.n, shape.k).total() + (shape.m * shape.k + shape.m * shape.n) * sizeof(float);
}

Result<Operands> MakeOperands(Backend& backend, const GemmShape& shape, ThreadPool& pool) {
  Operands act;
  act.host_x = RandomMatrix(shape.m * shape.k, 2, 1.0, pool);
  const auto allocated = backend.AllocateAll({{&act.x, shape.m * shape.k}, {&act.y, shape.m * shape.n}});
  if (!allocated) return allocated.error();
  backend.Upload(act.host_x, View(act.x, shape.m, shape.k));
  return act;
}

// The kernel of a format compared with the reference, to be timed.
Result<KernelTiming> CheckedTiming(Backend& backend, const Candidate& candidate, const GemmShape& shape,
                                   const Operands& act, ThreadPool& pool) {
  const FormatInfo& format = candidate.format->info;
  const std::string kernel(candidate.copies[0]->kernel());
  const auto check = CompareWithReference(backend, candidate, shape, act, pool);
  if (!check) return check.error();
  const double tolerance = Tolerance(kernel);
  if (!(check->max_error <= tolerance)) {
    return Error{
        ErrorCode::kNumerical,
        fmt::format("kernel {} on {} m={} n={} k={}: error {:.2e} against fp64, allowed {:.0e}; it is not timed",
                    kernel, format.name, shape.m, shape.n, shape.k, check->max_error, tolerance)};
  }
  return KernelTiming{shape,
                      candidate.format,
                      kernel,
                      std::string(ActivationOf(kernel)),
                      {},
                      2ull * shape.m * shape.n * shape.k,
                      BytesMoved(format, shape),
                      check->max_error,
                      tolerance,
                      check->outputs,
                      candidate.in_cache};
}

// What is timed of a layer.
struct Layer {
  std::vector<Candidate> candidates;          // of each format
  std::vector<Operands> acts;                 // of each shape
  std::optional<ReferenceProduct> reference;  // of recorded runs
};

Status MakeCandidates(Backend& backend, const GemmShape& shape, std::span<const FormatRow* const> formats,
                      std::size_t memory_bytes, RunKind kind, ThreadPool& pool, Layer& layer) {
  const std::vector<float> values = RandomMatrix(shape.n * shape.k, 1, 0.02, pool);
  const MatrixView<const float> weights(values.data(), shape.n, shape.k);
  const std::size_t own_bytes = memory_bytes / (formats.size() + (kind == RunKind::kSingle ? 0 : 1));
  for (const FormatRow* format : formats) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    auto candidate = MakeCandidate(backend, *format, weights, own_bytes, pool);
    if (!candidate) return candidate.error();
    layer.candidates.push_back(std::move(*candidate));
  }
  if (kind == RunKind::kSingle) return {};
  return ReferenceProduct::Create(backend, weights, own_bytes, pool).MoveTo(layer.reference);
}

// Operands of every shape, and a checked timing of every shape and format.
Result<std::vector<KernelTiming>> CheckLayer(Backend& backend, std::span<const GemmShape> shapes, Layer& layer,
                                             ThreadPool& pool) {
  std::vector<KernelTiming> timings;
  for (const GemmShape& shape : shapes) {
    MARLIN_CHECK(shape.n == shapes[0].n && shape.k == shapes[0].k, "shapes of one layer");
    auto act = MakeOperands(backend, shape, pool);
    if (!act) return act.error();
    layer.acts.push_back(std::move(*act));
    const std::vector<float>& x = layer.acts.back().host_x;
    if (layer.reference) {
      if (auto status = layer.reference->AddTokens({x.data(), shape.m, shape.k}, pool); !status) return status.error();
    }
    for (const Candidate& candidate : layer.candidates) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      auto timing = CheckedTiming(backend, candidate, shape, layer.acts.back(), pool);
      if (!timing) return timing.error();
      timings.push_back(std::move(*timing));
    }
  }
  for (Candidate& candidate : layer.candidates) candidate.encoded = {};
  return timings;
}

// The next copy's product.
TimedRun SingleRun(Backend& backend, Candidate& candidate, const GemmShape& shape, const Operands& act) {
  return {[&backend, &candidate, &shape, &act] {
    Multiply(backend, *candidate.copies[candidate.next], shape, act);
    candidate.next = (candidate.next + 1) % candidate.copies.size();
    return backend.Synchronize();
  }};
}

TimedRun RunOfKernel(Backend& backend, const Candidate& candidate, const KernelTiming& timing, const Operands& act,
                     RunKind kind) {
  const GemmShape& shape = timing.shape;
  const std::size_t products = ProductsOfRun(static_cast<double>(timing.flops), static_cast<double>(timing.bytes_moved),
                                             candidate.copies.size());
  std::vector<const Weight*> weights;
  for (std::size_t i = 0; i < products; ++i) weights.push_back(candidate.copies[i % candidate.copies.size()].get());
  if (kind == RunKind::kRecorded) {
    return RecordedRun(backend, products, [&backend, weights, shape, &act] {
      for (const Weight* weight : weights) Multiply(backend, *weight, shape, act);
    });
  }
  const std::vector<DeviceTensor> outs(products, View(act.y, shape.m, shape.n));  // all copies give the same numbers
  return RecordedRun(backend, products, [&backend, weights, outs, x = View(act.x, shape.m, shape.k)] {
    backend.Matmul(weights, {}, x, outs);
  });
}

TimedRun ReferenceRun(Backend& backend, const ReferenceProduct& reference, std::size_t tokens, double flops) {
  const std::size_t products = ProductsOfRun(flops, static_cast<double>(reference.bytes(tokens)), reference.copies());
  return RecordedRun(backend, products, [&reference, tokens, products] { reference.Queue(tokens, products); });
}

// In the order of the timings; the references follow them, one for each shape.
std::vector<TimedRun> RunsOf(Backend& backend, std::span<const GemmShape> shapes, Layer& layer,
                             const std::vector<KernelTiming>& timings, RunKind kind) {
  std::vector<TimedRun> runs;
  const std::size_t formats = layer.candidates.size();
  for (std::size_t i = 0; i < timings.size(); ++i) {
    Candidate& candidate = layer.candidates[i % formats];
    const Operands& act = layer.acts[i / formats];
    runs.push_back(kind == RunKind::kSingle ? SingleRun(backend, candidate, shapes[i / formats], act)
                                            : RunOfKernel(backend, candidate, timings[i], act, kind));
  }
  for (std::size_t s = 0; layer.reference && s < shapes.size(); ++s) {
    runs.push_back(ReferenceRun(backend, *layer.reference, s, static_cast<double>(timings[s * formats].flops)));
  }
  return runs;
}

}  // namespace

Result<std::vector<KernelTiming>> TimeKernels(Backend& backend, std::span<const GemmShape> shapes,
                                              std::span<const FormatRow* const> formats, const TimingProtocol& protocol,
                                              std::size_t memory_bytes, const ProgressFn& progress, RunKind kind) {
  MARLIN_CHECK(!shapes.empty(), "shapes to time");
  MARLIN_CHECK(kind == RunKind::kSingle || backend.yardsticks() != nullptr, "recorded runs need yardsticks");
  ThreadPool pool(backend.threads());
  Layer layer;
  if (auto made = MakeCandidates(backend, shapes[0], formats, memory_bytes, kind, pool, layer); !made) {
    return made.error();
  }
  auto timings = CheckLayer(backend, shapes, layer, pool);
  if (!timings) return timings;
  const std::vector<TimedRun> runs = RunsOf(backend, shapes, layer, *timings, kind);
  if (kind != RunKind::kSingle) {
    if (auto status = PrepareRuns(runs); !status) return status.error();
  }
  std::vector<std::function<Status()>> functions;
  for (const TimedRun& run : runs) functions.push_back(run.run);
  const std::string stage = fmt::format("kernels n={} k={}", shapes[0].n, shapes[0].k);
  auto samples = TimeInterleaved(functions, protocol, stage, progress);
  if (!samples) return samples.error();
  for (std::size_t i = 0; i < timings->size(); ++i) {
    KernelTiming& timing = (*timings)[i];
    timing.products = runs[i].products;
    timing.replayed = runs[i].replayed && runs[i].replayed();
    timing.samples_ns = OfOneProduct(std::move((*samples)[i]), runs[i].products);
    if (!layer.reference) continue;
    const std::size_t reference = timings->size() + i / formats.size();
    timing.reference_ns = OfOneProduct((*samples)[reference], runs[reference].products);
  }
  return timings;
}

}  // namespace marlin
