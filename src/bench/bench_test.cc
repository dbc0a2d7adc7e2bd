// Checks that the right work is timed and that wrong kernels are not. No test looks at a duration.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/half.h"
#include "bench/device_limits.h"
#include "bench/kernel_throughput.h"
#include "bench/limits.h"
#include "bench/operands.h"
#include "bench/recorded_run.h"
#include "bench/reference_product.h"
#include "bench/timing.h"
#include "bench/weight_traffic.h"
#include "formats/formats.h"
#include "kernels/cpu_backend.h"
#include "kernels/glass_backend.h"
#include "kernels/reference_backend.h"

namespace marlin {
namespace {

TEST(TimeInterleaved, CandidatesTakeTurns) {
  std::string order;
  const auto add = [&](char name) {
    return [&order, name]() -> Status {
      order += name;
      return {};
    };
  };
  const std::vector<std::function<Status()>> candidates = {add('a'), add('b'), add('c')};
  const auto samples = TimeInterleaved(candidates, {"test", 2, 3}, "test", {});
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ(order, "abcabcabcabcabc");
  ASSERT_EQ(samples->size(), 3u);
  for (const auto& one : *samples) {
    ASSERT_EQ(one.size(), 3u) << "warm-up is not among the samples";
    for (const double ns : one) EXPECT_GT(ns, 0);
  }
}

TEST(TimeInterleaved, StopsWhenInterrupted) {
  int runs = 0;
  const std::vector<std::function<Status()>> candidates = {[&]() -> Status {
    g_interrupted = ++runs == 4;
    return {};
  }};
  const auto samples = TimeInterleaved(candidates, {"test", 0, 100}, "test", {});
  g_interrupted = false;
  ASSERT_FALSE(samples.ok());
  EXPECT_EQ(samples.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ(runs, 4);
}

TEST(TimeInterleaved, StopsWhenACandidateFails) {
  int runs = 0;
  const std::vector<std::function<Status()>> candidates = {[&]() -> Status {
    if (++runs == 3) return Error{ErrorCode::kResource, "no device"};
    return {};
  }};
  const auto samples = TimeInterleaved(candidates, {"test", 1, 100}, "test", {});
  ASSERT_FALSE(samples.ok());
  EXPECT_EQ(samples.error().message, "no device");
  EXPECT_EQ(runs, 3);
}

TEST(TimingPlan, NamesSayHowOftenEverythingIsTimed) {
  EXPECT_EQ(PlanName(kStandardPlan), "15/100");
  EXPECT_EQ(PlanName(kQuickPlan), "prefill quick-2/8, decode quick-10/60");
  for (const TimingProtocol& x : {kStandardTiming, kQuickTiming, kQuickDecodeTiming}) {
    EXPECT_TRUE(x.id.ends_with(std::to_string(x.warmup) + "/" + std::to_string(x.iterations))) << x.id;
  }
}

TEST(KernelThroughput, EveryFormatIsCheckedAndCounted) {
  const auto backend = MakeCpuBackend({});
  ASSERT_TRUE(backend.ok());
  std::vector<const FormatRow*> formats;
  for (const FormatRow& row : Formats()) {
    if (FitsRows(row.info, 176)) formats.push_back(&row);
  }
  const GemmShape shapes[] = {{"test", 3, 300, 176}, {"test", 50, 300, 176}};
  const auto timings = TimeKernels(**backend, shapes, formats, {"test", 1, 2}, std::size_t{1} << 24, {});
  ASSERT_TRUE(timings.ok()) << timings.error().message;
  ASSERT_EQ(timings->size(), 2 * formats.size());
  for (std::size_t i = 0; i < timings->size(); ++i) {
    const KernelTiming& timing = (*timings)[i];
    const std::size_t m = i < formats.size() ? 3 : 50;
    EXPECT_EQ(timing.format, formats[i % formats.size()]);
    EXPECT_EQ(timing.samples_ns.size(), 2u);
    EXPECT_EQ(timing.flops, 2 * m * 300 * 176);
    EXPECT_EQ(timing.bytes_moved, SizeOfEncoded(timing.format->info, 300, 176).total() + 4 * (m * 176 + m * 300));
    EXPECT_EQ(timing.activation, ActivationOf(timing.kernel));
    EXPECT_GT(timing.max_error, 0) << "random inputs never multiply exactly";
    EXPECT_LE(timing.max_error, timing.tolerance);
    EXPECT_EQ(timing.checked_outputs, m * 256);
    EXPECT_TRUE(timing.in_cache) << "16 MiB hold no four caches";
  }
}

TEST(KernelThroughput, OfManyTokensSomeAreChecked) {
  const auto backend = MakeCpuBackend({});
  ASSERT_TRUE(backend.ok());
  const FormatRow* const format = FindFormat("fp4-g32");
  const GemmShape shape{"test", 600, 8, 64};
  const auto timings = TimeKernels(**backend, {&shape, 1}, {&format, 1}, {"test", 0, 1}, 1 << 20, {});
  ASSERT_TRUE(timings.ok()) << timings.error().message;
  EXPECT_EQ((*timings)[0].checked_outputs, 512u * 8);
  EXPECT_EQ((*timings)[0].products, 1u);
  EXPECT_TRUE((*timings)[0].reference_ns.empty());
}

// A backend whose product is off by a little: a kernel with a bug.
class WrongBackend : public Backend {
 public:
  std::string_view name() const override { return "wrong"; }
  std::string arithmetic() const override { return "wrong"; }
  int threads() const override { return 1; }
  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override {
    return inner_->Allocate(elements, type);
  }
  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override { inner_->UploadBytes(from, to); }
  void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) override { inner_->DownloadBytes(from, to); }
  void Copy(const DeviceTensor& from, const DeviceTensor& to) override { inner_->Copy(from, to); }
  void Clear(const DeviceTensor& to) override { inner_->Clear(to); }
  Status Synchronize() override { return inner_->Synchronize(); }
  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    return inner_->AllocateCache(shape);
  }
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override { return inner_->Pack(matrix); }
  void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) override {
    inner_->Embed(table, tokens, out);
  }
  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override {
    inner_->Matmul(weights, biases, x, outs);
    DeviceTensor first = outs[0];
    first.rows = first.cols = 1;
    inner_->Upload(std::vector<float>{output_}, first);
  }
  void Norm(const NormArgs& norm) override { inner_->Norm(norm); }
  void Rope(const RopeArgs& args) override { inner_->Rope(args); }
  void Append(const AppendArgs& args) override { inner_->Append(args); }
  void Attention(const AttentionArgs& args, const DeviceTensor& out) override { inner_->Attention(args, out); }
  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override {
    inner_->GatedActivation(activation, gate, up);
  }
  void Activate(Activation activation, const DeviceTensor& x) override { inner_->Activate(activation, x); }
  void Add(const DeviceTensor& x, const DeviceTensor& y, float factor) override { inner_->Add(x, y, factor); }
  void Scale(const DeviceTensor& x, float factor) override { inner_->Scale(x, factor); }
  void SoftCap(const DeviceTensor& x, float cap) override { inner_->SoftCap(x, cap); }
  void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) override {
    inner_->CrossEntropy(logits, targets, nll);
  }
  void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                  const DeviceTensor& out) override {
    inner_->Divergence(base, other, targets, out);
  }
  void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) override {
    inner_->TopK(x, values, columns);
  }
  void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) override {
    inner_->Moments(x, sums, largest);
  }
  void AddGram(const DeviceTensor& x, const DeviceTensor& gram) override { inner_->AddGram(x, gram); }

  float output_ = 0;

 private:
  std::unique_ptr<Backend> inner_ = MakeReferenceBackend();
};

TEST(KernelThroughput, AWrongKernelIsNotTimed) {
  WrongBackend backend;
  const FormatRow* format = FindFormat("fp4-g32");
  const GemmShape shape{"test", 2, 8, 64};
  for (const float output : {12.5f, std::numeric_limits<float>::quiet_NaN()}) {
    backend.output_ = output;
    const auto timings = TimeKernels(backend, {&shape, 1}, {&format, 1}, {"test", 1, 2}, 1 << 20, {});
    ASSERT_FALSE(timings.ok());
    EXPECT_EQ(timings.error().code, ErrorCode::kNumerical);
    EXPECT_NE(timings.error().message.find("not timed"), std::string::npos);
  }
}

// The glass device as a GPU.
std::unique_ptr<GlassBackend> GlassGpu() {
  auto cpu = MakeCpuBackend({2, {}, {}});
  MARLIN_CHECK(cpu.ok(), "the backend of a test");
  auto glass = std::make_unique<GlassBackend>(std::move(*cpu));
  glass->SetCacheBytes(4000);
  glass->OfferYardsticks();
  return glass;
}

TEST(RecordedRun, IsLongAndRotatesThroughAllCopies) {
  EXPECT_EQ(ProductsOfRun(1e6, 1e6, 1), 512u) << "small products";
  EXPECT_EQ(ProductsOfRun(1e6, 1e6, 5), 515u) << "whole rotations";
  EXPECT_EQ(ProductsOfRun(1e6, 1e6, 2000), 2000u);
  EXPECT_EQ(ProductsOfRun(1e6, 1e9, 1), 8u) << "of 8 GB";
  EXPECT_EQ(ProductsOfRun(1e12, 1e6, 1), 2u) << "of 1.5e12 operations";
  EXPECT_EQ(ProductsOfRun(1e15, 1e12, 1), 1u);
}

TEST(RecordedRun, IsQueuedAsAWholeAndWaitedFor) {
  const auto glass = GlassGpu();
  const auto buffer = std::move(*glass->Allocate(4, ElementType::kF32));
  const DeviceTensor x = View(buffer, 1, 4);
  glass->Upload(std::vector<float>(4, 1.0f), x);
  const TimedRun run = RecordedRun(*glass, 3, [&] {
    for (int i = 0; i < 3; ++i) glass->Scale(x, 2);
  });
  EXPECT_EQ(run.products, 3u);
  ASSERT_TRUE(PrepareRuns({&run, 1}).ok());
  EXPECT_EQ(glass->queued(), 0u);
  std::vector<float> got(4);
  ASSERT_TRUE(glass->Read(x, got).ok());
  EXPECT_EQ(got[0], 64.0f) << "twice";
  glass->FailNext({ErrorCode::kResource, "no device"});
  EXPECT_EQ(PrepareRuns({&run, 1}).error().message, "no device");
  EXPECT_EQ(OfOneProduct({30, 60}, 3), (std::vector<double>{10, 20}));
}

TEST(KernelThroughput, ADeviceReplaysManyProductsBesideItsLibrary) {
  const auto glass = GlassGpu();
  const FormatRow* formats[] = {FindFormat("fp4-g32"), FindFormat("fp16")};
  const GemmShape shapes[] = {{"test", 1, 8, 64}, {"test", 2, 8, 64}};
  for (const RunKind kind : {RunKind::kRecorded, RunKind::kRecordedSharedInput}) {
    const auto timings = TimeKernels(*glass, shapes, formats, {"test", 0, 2}, std::size_t{1} << 24, {}, kind);
    ASSERT_TRUE(timings.ok()) << timings.error().message;
    ASSERT_EQ(timings->size(), 4u);
    for (const KernelTiming& timing : *timings) {
      EXPECT_EQ(timing.samples_ns.size(), 2u);
      EXPECT_EQ(timing.reference_ns.size(), 2u);
      EXPECT_GE(timing.products, 512u);
      EXPECT_FALSE(timing.replayed) << "the glass device records nothing";
      EXPECT_FALSE(timing.in_cache) << "16 MiB hold four caches";
      EXPECT_EQ(timing.checked_outputs, timing.shape.m * 8);
    }
    EXPECT_EQ((*timings)[0].reference_ns, (*timings)[1].reference_ns) << "one library for all formats";
    EXPECT_NE((*timings)[0].reference_ns, (*timings)[2].reference_ns) << "another number of tokens";
  }
}

TEST(KernelThroughput, ALibraryThatDoesNotTakeTheShapeIsNotMeasured) {
  const auto glass = GlassGpu();
  const FormatRow* const format = FindFormat("fp4-g32");
  const GemmShape shape{"test", 1, 30, 64};
  const auto timings = TimeKernels(*glass, {&shape, 1}, {&format, 1}, {"test", 0, 2}, 1 << 20, {}, RunKind::kRecorded);
  ASSERT_TRUE(timings.ok()) << timings.error().message;
  EXPECT_TRUE((*timings)[0].reference_ns.empty());
}

TEST(ReferenceProduct, IsThatOfTheRoundedNumbers) {
  const auto glass = GlassGpu();
  ThreadPool pool(2);
  constexpr std::size_t kTokens = 3, kN = 16, kK = 40;
  const std::vector<float> weights = RandomMatrix(kN * kK, 1, 0.5, pool), x = RandomMatrix(kTokens * kK, 2, 1, pool);
  auto made = ReferenceProduct::Create(*glass, {weights.data(), kN, kK}, 1 << 20, pool);
  ASSERT_TRUE(made.ok() && made->has_value());
  ReferenceProduct& product = **made;
  EXPECT_EQ(product.copies(), 4 * 4000 / (2 * kN * kK) + 1) << "more than four caches";
  ASSERT_TRUE(product.AddTokens({x.data(), kTokens, kK}, pool).ok());
  EXPECT_EQ(product.bytes(0), 2 * (kN * kK + kTokens * kK + kTokens * kN));
  product.Queue(0, product.copies());
  std::vector<std::int32_t> pairs(kTokens * kN / 2);
  ASSERT_TRUE(glass->Read(product.out(0), pairs).ok());
  const auto rounded = [](float value) { return HalfToFloat(FloatToHalf(value)); };
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t n = 0; n < kN; ++n) {
      float want = 0;
      for (std::size_t k = 0; k < kK; ++k) want += rounded(x[t * kK + k]) * rounded(weights[n * kK + k]);
      const auto pair = static_cast<std::uint32_t>(pairs[(t * kN + n) / 2]);
      const auto bits = static_cast<std::uint16_t>(n % 2 == 0 ? pair : pair >> 16);
      EXPECT_NEAR(HalfToFloat(bits), want, 1e-2 * (1 + std::abs(want)));
    }
  }
}

TEST(Limits, OfADeviceAreMeasuredWithItsYardsticks) {
  const auto glass = GlassGpu();
  const auto measured = MeasureDeviceLimits(*glass, {4096, 16, 2, 2});
  ASSERT_TRUE(measured.ok()) << measured.error().message;
  EXPECT_GT(measured->limits.read_gbps, 0);
  EXPECT_GT(measured->limits.fp16_gflops, 0);
  EXPECT_EQ(ComputePeak(measured->limits, "fp16"), measured->limits.fp16_gflops);
  EXPECT_FALSE(ComputePeak(measured->limits, "fp32").has_value()) << "not measured";
  MachineLimits limits;
  limits.read_gbps = 4650;
  limits.fp16_gflops = 701000;
  EXPECT_EQ(DescribeLimits(limits), "4650.0 GB/s read, 701000.0 GFLOP/s fp16");
  EXPECT_EQ(LargerOf({}, limits).fp16_gflops, 701000);
}

TEST(Limits, WeightsRotateThroughTheCacheOfTheirDevice) {
  EXPECT_EQ(BytesToRotate(*MakeReferenceBackend()), 4 * LastLevelCacheBytes());
  EXPECT_EQ(BytesToRotate(*GlassGpu()), 4 * 4000u);
}

TEST(Limits, ArePositive) {
  ThreadPool pool(1);
  const MachineLimits limits = MeasureLimits(pool);
  EXPECT_GT(limits.read_gbps, 0);
  EXPECT_GT(limits.fma_gflops, 0);
  EXPECT_GT(limits.alone_gflops, 0);
  EXPECT_FALSE(limits.fma_isa.empty());
}

TEST(Limits, OfTwoMeasurementsTheLarger) {
  MachineLimits a, b;
  a.read_gbps = 20;
  b.read_gbps = 30;
  a.int16_gops = 700;
  b.int16_gops = 500;
  a.fma_isa = "avx512";
  const MachineLimits both = LargerOf(a, b);
  EXPECT_EQ(both.read_gbps, 30);
  EXPECT_EQ(both.int16_gops, 700);
  EXPECT_EQ(both.fma_isa, "avx512");
}

TEST(Limits, ThreadsThatLackCoresAreNoticed) {
  MachineLimits limits;
  limits.fma_gflops = 200;
  limits.alone_gflops = 110;
  EXPECT_FALSE(ThreadsLackCores(limits, 2));
  limits.fma_gflops = 120;
  EXPECT_TRUE(ThreadsLackCores(limits, 2));
  EXPECT_FALSE(ThreadsLackCores(limits, 1));
}

TEST(Limits, TheSlowerOfReadingAndComputingBounds) {
  const MachineLimits limits{50, 200, "avx2"};
  EXPECT_EQ(ComputePeak(limits, "fp32"), 200);
  EXPECT_FALSE(ComputePeak(limits, "fp3").has_value());
  EXPECT_FALSE(ComputePeak({50, 0, ""}, "fp32").has_value());

  const auto read = LeastTimeOf(limits, "fp32", 1000, 1000);  // 20 ns of reading, 5 ns of computing
  ASSERT_TRUE(read.has_value());
  EXPECT_DOUBLE_EQ(read->ns, 20);
  EXPECT_TRUE(read->by_memory);
  const auto computed = LeastTimeOf(limits, "fp32", 100000, 1000);
  ASSERT_TRUE(computed.has_value());
  EXPECT_DOUBLE_EQ(computed->ns, 500);
  EXPECT_FALSE(computed->by_memory);
  EXPECT_FALSE(LeastTimeOf(limits, "fp3", 1, 1).has_value());
  EXPECT_FALSE(LeastTimeOf({0, 200, ""}, "fp32", 1, 1).has_value());
}

}  // namespace
}  // namespace marlin
