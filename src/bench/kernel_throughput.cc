#include "bench/kernel_throughput.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/check.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "bench/limits.h"
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

// Outputs of one row that are compared: all up to here, else as many spread over the row, both ends included.
constexpr std::size_t kCheckedColumns = 256;

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

std::vector<float> RandomMatrix(std::size_t count, std::uint64_t seed, double scale, ThreadPool& pool) {
  std::vector<float> values(count);
  pool.Split(count, [&](std::size_t begin, std::size_t end, int) {
    Rng rng(seed + begin);
    // Sum of three uniforms: bell-shaped, and ten times cheaper than a true normal.
    for (std::size_t i = begin; i < end; ++i) {
      values[i] = static_cast<float>(scale * 2 * (rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5));
    }
  });
  return values;
}

Result<Candidate> MakeCandidate(Backend& backend, const FormatRow& format, MatrixView<const float> weights,
                                std::size_t memory_bytes, ThreadPool& pool) {
  Candidate candidate;
  candidate.format = &format;
  candidate.encoded = Encode(format, weights, pool);
  const std::size_t wanted_bytes = 4 * LastLevelCacheBytes();
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

// Every row of activations against kCheckedColumns weight rows, in fp64.
Result<Check> CompareWithReference(Backend& backend, const Candidate& candidate, const GemmShape& shape,
                                   const Operands& act, ThreadPool& pool) {
  std::vector<float> got(shape.m * shape.n, NAN);
  const DeviceTensor y = View(act.y, shape.m, shape.n);
  backend.Upload(got, y);  // poison: an output that is not written shows
  Multiply(backend, *candidate.copies[0], shape, act);
  if (auto status = backend.Read(y, got); !status) return status.error();
  const std::size_t columns = std::min(kCheckedColumns, shape.n);
  std::vector<double> difference(columns, 0);
  std::vector<double> peak(columns, 0);
  pool.Split(columns, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> row(shape.k);
    for (std::size_t c = begin; c < end; ++c) {
      const std::size_t n = columns == 1 ? 0 : c * (shape.n - 1) / (columns - 1);
      DecodeRow(candidate.encoded.view(), n, row);
      for (std::size_t m = 0; m < shape.m; ++m) {
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
  return Check{worst / *std::max_element(peak.begin(), peak.end()), shape.m * columns};
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

Result<std::vector<Candidate>> MakeCandidates(Backend& backend, const GemmShape& shape,
                                              std::span<const FormatRow* const> formats, std::size_t memory_bytes,
                                              ThreadPool& pool) {
  const std::vector<float> weights = RandomMatrix(shape.n * shape.k, 1, 0.02, pool);
  std::vector<Candidate> candidates;
  for (const FormatRow* format : formats) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    auto candidate =
        MakeCandidate(backend, *format, {weights.data(), shape.n, shape.k}, memory_bytes / formats.size(), pool);
    if (!candidate) return candidate.error();
    candidates.push_back(std::move(*candidate));
  }
  return candidates;
}

}  // namespace

Result<std::vector<KernelTiming>> TimeKernels(Backend& backend, std::span<const GemmShape> shapes,
                                              std::span<const FormatRow* const> formats, const TimingProtocol& protocol,
                                              std::size_t memory_bytes, const ProgressFn& progress) {
  MARLIN_CHECK(!shapes.empty(), "shapes to time");
  const GemmShape& layer = shapes[0];
  ThreadPool pool(backend.threads());
  auto candidates = MakeCandidates(backend, layer, formats, memory_bytes, pool);
  if (!candidates) return candidates.error();
  std::vector<Operands> acts;
  std::vector<KernelTiming> timings;
  for (const GemmShape& shape : shapes) {
    MARLIN_CHECK(shape.n == layer.n && shape.k == layer.k, "shapes of one layer");
    auto act = MakeOperands(backend, shape, pool);
    if (!act) return act.error();
    acts.push_back(std::move(*act));
    for (const Candidate& candidate : *candidates) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      auto timing = CheckedTiming(backend, candidate, shape, acts.back(), pool);
      if (!timing) return timing.error();
      timings.push_back(std::move(*timing));
    }
  }
  for (Candidate& candidate : *candidates) candidate.encoded = {};

  std::vector<std::function<Status()>> runs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (Candidate& candidate : *candidates) {
      runs.push_back([&backend, &candidate, &shape = shapes[i], &act = acts[i]] {
        Multiply(backend, *candidate.copies[candidate.next], shape, act);
        candidate.next = (candidate.next + 1) % candidate.copies.size();
        return backend.Synchronize();
      });
    }
  }
  auto samples = TimeInterleaved(runs, protocol, fmt::format("kernels n={} k={}", layer.n, layer.k), progress);
  if (!samples) return samples.error();
  for (std::size_t i = 0; i < timings.size(); ++i) timings[i].samples_ns = std::move((*samples)[i]);
  return timings;
}

}  // namespace marlin
