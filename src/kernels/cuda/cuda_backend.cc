#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/cuda_weight.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/w4.h"
#include "kernels/host_buffer.h"

namespace marlin {
namespace {

class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(const Device& device, CudaMemory memory) : Buffer(device), memory_(std::move(memory)) {}
  std::size_t bytes() const override { return memory_.bytes(); }
  std::byte* data() const { return memory_.data(); }

 private:
  CudaMemory memory_;
};

// For every layer [context][kv_heads * head_dim] keys, then as many values, fp16 where products round activations.
class CudaCache final : public KvCache {
 public:
  CudaCache(const Device& device, const CacheShape& shape, bool halves, CudaMemory memory)
      : KvCache(device), shape_(shape), halves_(halves), memory_(std::move(memory)) {}
  std::size_t resident_bytes() const override { return memory_.bytes(); }
  cuda::CacheView Layer(std::size_t layer) const {
    const CacheLayer& own = shape_.layers[layer];
    const std::size_t element = halves_ ? 2 : sizeof(float);
    std::byte* const keys = memory_.data() + Elements(shape_, layer) * element;
    std::byte* const values = keys + ElementsOf(shape_, own) * element;
    return {keys, values, halves_, own.kv_heads, own.head_dim};
  }

  // Of the first `layers`.
  static std::size_t Elements(const CacheShape& shape, std::size_t layers) {
    std::size_t all = 0;
    for (std::size_t i = 0; i < layers; ++i) all += 2 * ElementsOf(shape, shape.layers[i]);
    return all;
  }
  // Keys of a layer; they and the values begin at multiples of kPartAlignment bytes.
  static std::size_t ElementsOf(const CacheShape& shape, const CacheLayer& layer) {
    return AlignedTo(shape.context * layer.kv_heads * layer.head_dim, kPartAlignment / 2);
  }

 private:
  CacheShape shape_;
  bool halves_;  // fp16, else fp32
  CudaMemory memory_;
};

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(const Device& device) : Recording(device) {}
  ~CudaRecording() override { Forget(); }

  void Forget() {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    graph = nullptr;
  }

  cudaGraphExec_t graph = nullptr;
  std::uint64_t generation = 0;  // of the backend's own memory, which the graph reads
  bool fails = false;            // the operations cannot be recorded
};

// More than kMostFewTokens are multiplied by cuBLAS, with decoded weights. Rows that are decoded at once have at most
// so many numbers.
constexpr std::size_t kMostDecoded = std::size_t{1} << 26;

class CudaBackend final : public Backend {
 public:
  CudaBackend(int index, int threads, bool halves, std::string hardware, std::string arithmetic, cudaStream_t stream,
              std::unique_ptr<cuda::Cublas> cublas)
      : index_(index),
        pool_(threads),
        halves_(halves),
        hardware_(std::move(hardware)),
        arithmetic_(std::move(arithmetic)),
        stream_(stream),
        cublas_(std::move(cublas)) {}
  ~CudaBackend() override {
    cudaStreamSynchronize(stream_);
    decoded_ = CudaMemory();
    rounded_ = CudaMemory();
    all_rounded_ = CudaMemory();
    cublas_.reset();
    workspace_ = CudaMemory();
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  // Memory for products. Without it cuBLAS allocates some whenever operations are recorded. Errors: kResource.
  Status Start() {
    constexpr std::size_t kWorkspace = std::size_t{64} << 20;
    if (auto status = CudaMemory::Allocate(kWorkspace, "products", On()).MoveTo(workspace_); !status) return status;
    return cublas_->UseWorkspace(workspace_.data(), kWorkspace);
  }

  std::string_view name() const override { return "cuda"; }
  std::string arithmetic() const override { return arithmetic_; }
  std::optional<std::string> hardware() const override { return hardware_; }
  std::size_t tokens_at_once() const override { return 4096; }
  std::optional<std::size_t> peak_bytes() const override {
    cudaMemPool_t pool = nullptr;
    std::uint64_t bytes = 0;
    if (cudaDeviceGetDefaultMemPool(&pool, index_) != cudaSuccess ||
        cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &bytes) != cudaSuccess) {
      return std::nullopt;
    }
    return bytes;
  }
  std::string_view rounding() const override { return halves_ ? "fp16" : "fp32"; }
  int threads() const override { return pool_.threads(); }

  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override {
    auto memory = CudaMemory::Allocate(BytesToAllocate(elements, type), "activations", On());
    if (!memory) return memory.error();
    return std::unique_ptr<Buffer>(std::make_unique<CudaBuffer>(*this, *std::move(memory)));
  }

  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override {
    MARLIN_CHECK(from.size() == to.bytes(), "bytes to upload");
    if (from.empty()) return;
    const std::size_t size = BytesOf(to.type);
    Note(cudaMemcpy2DAsync(BytesAt(to), to.stride * size, from.data(), to.cols * size, to.cols * size, to.rows,
                           cudaMemcpyHostToDevice, On()));
  }
  void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) override {
    MARLIN_CHECK(to.size() == from.bytes(), "bytes to download");
    if (to.empty()) return;
    const std::size_t size = BytesOf(from.type);
    Note(cudaMemcpy2DAsync(to.data(), from.cols * size, BytesAt(from), from.stride * size, from.cols * size, from.rows,
                           cudaMemcpyDeviceToHost, On()));
  }
  void Copy(const DeviceTensor& from, const DeviceTensor& to) override {
    CheckSameShape(from, to);
    if (from.bytes() == 0) return;
    const std::size_t size = BytesOf(from.type);
    Note(cudaMemcpy2DAsync(BytesAt(to), to.stride * size, BytesAt(from), from.stride * size, from.cols * size,
                           from.rows, cudaMemcpyDeviceToDevice, On()));
  }
  // The first call queues directly, and so allocates what the operations need of the backend's own memory.
  void QueueRecorded(std::unique_ptr<Recording>& recording, const std::function<void()>& queue) override {
    if (recording == nullptr) {
      recording = std::make_unique<CudaRecording>(*this);
      return queue();
    }
    CudaRecording& own = Own<CudaRecording>(*this, *recording);
    if (own.fails) return queue();
    if (own.graph == nullptr || own.generation != generation_) {
      if (!Record(queue, own)) return queue();
    }
    Note(cudaGraphLaunch(own.graph, On()));
  }
  Status Synchronize() override {
    Note(cudaStreamSynchronize(On()));
    return std::exchange(failure_, Status());
  }

  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    const std::size_t floats = BytesToAllocate(CudaCache::Elements(shape, shape.layers.size()), ElementType::kF32);
    const std::size_t bytes = halves_ ? floats / 2 : floats;
    auto memory = CudaMemory::Allocate(bytes, "keys and values", On());
    if (!memory) return memory.error();
    return std::unique_ptr<KvCache>(std::make_unique<CudaCache>(*this, shape, halves_, *std::move(memory)));
  }

  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override {
    const CudaWeightType type = CudaWeightTypeOf(matrix, halves_, pool_);
    const std::vector<std::uint8_t> bytes = BytesOfWeight(matrix, type, pool_);
    auto memory = CudaMemory::Allocate(bytes.size(), "weights", On());
    if (!memory) return memory.error();
    Note(cudaMemcpyAsync(memory->data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice, On()));
    Note(cudaStreamSynchronize(On()));  // before `bytes` ends
    return std::unique_ptr<Weight>(std::make_unique<CudaWeight>(*this, type, *std::move(memory), On()));
  }

  void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) override {
    MARLIN_CHECK(out.cols == table.cols() && tokens.rows == out.rows, "shape of an embedding");
    const CudaWeight& weight = Own<const CudaWeight>(*this, table);
    if (weight.is_w4()) {
      cuda::EmbedW4Rows(weight.w4(), Ints(tokens), Floats(out), On());
    } else {
      cuda::EmbedRows(weight.packed(), Ints(tokens), Floats(out), On());
    }
    NoteLaunch();
  }

  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override {
    MARLIN_CHECK(weights.size() == outs.size() && (biases.empty() || biases.size() == outs.size()),
                 "an output for each weight");
    bool few_rounded = false, many_rounded = false;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const CudaWeight& weight = Own<const CudaWeight>(*this, *weights[i]);
      CheckProduct(weight, x, outs[i]);
      const cuda::View<const float> bias = biases.empty() ? cuda::View<const float>() : FloatsOrNone(biases[i]);
      const bool many = x.rows > cuda::kMostFewTokens;
      if (x.rows > 0 && weight.rounds() && (many || weight.is_halves())) {
        if (!many_rounded && !RoundAll(ConstFloats(x))) return;
        many_rounded = true;
        MultiplyHalves(weight, bias, x.rows, Floats(outs[i]));
      } else if (many) {
        MultiplyMany(weight, bias, ConstFloats(x), Floats(outs[i]));
      } else if (x.rows > 0 && weight.is_w4()) {
        if (!few_rounded && !RoundInput(ConstFloats(x))) return;
        few_rounded = true;
        MultiplyFew(weight, bias, outs[i]);
      } else {
        cuda::MultiplyFew(weight.packed(), bias, ConstFloats(x), Floats(outs[i]), On());
      }
    }
    NoteLaunch();
  }

  void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                  std::span<const DeviceTensor> outs) override {
    const bool w4 = std::ranges::all_of(
        weights, [&](const Weight* weight) { return Own<const CudaWeight>(*this, *weight).is_w4(); });
    if (norm.x.rows == 0 || norm.x.rows > cuda::kMostFewTokens || !w4) {
      Norm(norm);
      return Matmul(weights, biases, norm.y, outs);
    }
    if (!ReserveFew(norm.x.rows, norm.x.cols)) return;
    cuda::NormalizeToHalves(norm.kind, ConstFloats(norm.x), FloatsOrNone(norm.weight), FloatsOrNone(norm.bias),
                            norm.eps, Floats(norm.y), HalvesOfInput(), PowersOfInput(), On());
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const CudaWeight& weight = Own<const CudaWeight>(*this, *weights[i]);
      CheckProduct(weight, norm.y, outs[i]);
      MultiplyFew(weight, biases.empty() ? cuda::View<const float>() : FloatsOrNone(biases[i]), outs[i]);
    }
    NoteLaunch();
  }

  void Norm(const NormArgs& norm) override {
    cuda::Normalize(norm.kind, ConstFloats(norm.x), FloatsOrNone(norm.weight), FloatsOrNone(norm.bias), norm.eps,
                    Floats(norm.y), On());
    NoteLaunch();
  }

  void Rope(const RopeArgs& args) override {
    cuda::Rotate(Floats(args.x), args.head_dim, ConstFloats(args.cos), ConstFloats(args.sin), Ints(args.positions),
                 args.neighbours, On());
    NoteLaunch();
  }

  void Append(const AppendArgs& args) override {
    cuda::AppendRows(Own<CudaCache>(*this, *args.cache).Layer(args.layer), Ints(args.positions), ConstFloats(args.keys),
                     ConstFloats(args.values), On());
    NoteLaunch();
  }

  void Attention(const AttentionArgs& args, const DeviceTensor& out) override {
    cuda::Attend({args.heads, args.scale, args.window, args.softcap}, ConstFloats(args.q),
                 Own<const CudaCache>(*this, *args.cache).Layer(args.layer), Ints(args.positions), Floats(out), On());
    NoteLaunch();
  }

  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override {
    cuda::Activate(activation, Floats(gate), ConstFloats(up), On());
    NoteLaunch();
  }
  void Activate(Activation activation, const DeviceTensor& x) override {
    cuda::Activate(activation, Floats(x), {}, On());
    NoteLaunch();
  }
  void Add(const DeviceTensor& x, const DeviceTensor& y, float factor) override {
    cuda::AddScaled(Floats(x), ConstFloats(y), factor, On());
    NoteLaunch();
  }
  void Scale(const DeviceTensor& x, float factor) override {
    cuda::Multiply(Floats(x), factor, On());
    NoteLaunch();
  }
  void SoftCap(const DeviceTensor& x, float cap) override {
    cuda::SoftCap(Floats(x), cap, On());
    NoteLaunch();
  }

  void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) override {
    cuda::CrossEntropy(ConstFloats(logits), Ints(targets), Doubles(nll), On());
    NoteLaunch();
  }
  void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                  const DeviceTensor& out) override {
    cuda::Divergence(ConstFloats(base), ConstFloats(other), Ints(targets), Doubles(out), On());
    NoteLaunch();
  }
  void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) override {
    cuda::TopK(ConstFloats(x), Floats(values), ViewOf<std::int32_t>(columns, ElementType::kI32), On());
    NoteLaunch();
  }
  void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) override {
    cuda::Moments(ConstFloats(x), Doubles(sums), Floats(largest), On());
    NoteLaunch();
  }
  void AddGram(const DeviceTensor& x, const DeviceTensor& gram) override {
    if (x.rows > 0) Note(cublas_->AddGram(ConstFloats(x), Floats(gram)));
  }

 private:
  // The tensor's first byte. All its rows lie in the buffer.
  std::byte* BytesAt(const DeviceTensor& tensor) const {
    MARLIN_CHECK(tensor.buffer != nullptr, "there is no tensor");
    const CudaBuffer& buffer = Own<const CudaBuffer>(*this, *tensor.buffer);
    const std::size_t size = BytesOf(tensor.type);
    const std::size_t end = tensor.rows == 0 ? 0 : tensor.offset + (tensor.rows - 1) * tensor.stride + tensor.cols;
    MARLIN_CHECK(tensor.stride >= tensor.cols && end <= buffer.bytes() / size, "a tensor ends beyond its buffer");
    return buffer.data() + tensor.offset * size;
  }
  template <class T>
  cuda::View<T> ViewOf(const DeviceTensor& tensor, ElementType type) const {
    MARLIN_CHECK(tensor.type == type, "type of a tensor");
    return {reinterpret_cast<T*>(BytesAt(tensor)), tensor.rows, tensor.cols, tensor.stride};
  }
  cuda::View<float> Floats(const DeviceTensor& tensor) const { return ViewOf<float>(tensor, ElementType::kF32); }
  cuda::View<const float> ConstFloats(const DeviceTensor& tensor) const {
    return ViewOf<const float>(tensor, ElementType::kF32);
  }
  cuda::View<const float> FloatsOrNone(const DeviceTensor& tensor) const {
    return tensor.buffer == nullptr ? cuda::View<const float>() : ConstFloats(tensor);
  }
  cuda::View<double> Doubles(const DeviceTensor& tensor) const { return ViewOf<double>(tensor, ElementType::kF64); }
  cuda::View<const std::int32_t> Ints(const DeviceTensor& tensor) const {
    return ViewOf<const std::int32_t>(tensor, ElementType::kI32);
  }
  // The stream; every call that queues something asks for it, on whatever thread.
  cudaStream_t On() const {
    cudaSetDevice(index_);
    return stream_;
  }

  // Keeps the first error.
  void Note(Status status) {
    if (failure_ && !status) failure_ = std::move(status);
  }
  void Note(cudaError_t code) {
    if (code == cudaSuccess) return;
    Note(Status(Error{ErrorCode::kResource, fmt::format("CUDA device {}: {} ({})", index_, cudaGetErrorString(code),
                                                        cudaGetErrorName(code))}));
  }
  void NoteLaunch() { Note(cudaGetLastError()); }

  // At least so many bytes. Errors are noted.
  bool Reserve(std::size_t bytes, const char* what, CudaMemory& memory) {
    if (memory.bytes() >= bytes && memory.data() != nullptr) return true;
    memory = CudaMemory();
    ++generation_;
    const Status status = CudaMemory::Allocate(bytes, what, On()).MoveTo(memory);
    if (!status) Note(status);
    return status.ok();
  }

  // The powers of the tokens come before their halves.
  static constexpr std::size_t kPowersBytes = AlignedTo(cuda::kMostFewTokens * sizeof(float), kPartAlignment);
  bool ReserveFew(std::size_t tokens, std::size_t cols) {
    return Reserve(kPowersBytes + cuda::HalfBytes(tokens, cols), "rounded activations", rounded_);
  }
  bool RoundInput(cuda::View<const float> x) {
    if (!ReserveFew(x.rows, x.cols)) return false;
    cuda::RoundToHalves(x, HalvesOfInput(), PowersOfInput(), On());
    return true;
  }
  float* PowersOfInput() const { return reinterpret_cast<float*>(rounded_.data()); }
  std::uint8_t* HalvesOfInput() const { return reinterpret_cast<std::uint8_t*>(rounded_.data() + kPowersBytes); }

  // A product with the rounded tokens.
  void MultiplyFew(const CudaWeight& weight, cuda::View<const float> bias, const DeviceTensor& out) {
    cuda::MultiplyW4Few(weight.w4(), bias, HalvesOfInput(), PowersOfInput(), Floats(out), On());
  }
  static void CheckProduct(const CudaWeight& weight, const DeviceTensor& x, const DeviceTensor& out) {
    MARLIN_CHECK(x.cols == weight.cols() && out.cols == weight.rows() && out.rows == x.rows, "shape of a product");
  }

  // Records what `queue` queues. False where that cannot be recorded; then nothing was queued.
  bool Record(const std::function<void()>& queue, CudaRecording& recording) {
    recording.Forget();
    const Status before = failure_;
    cudaGraph_t graph = nullptr;
    bool recorded = cudaStreamBeginCapture(On(), cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    if (recorded) {
      queue();
      recorded = cudaStreamEndCapture(stream_, &graph) == cudaSuccess && failure_.ok() == before.ok() &&
                 cudaGraphInstantiate(&recording.graph, graph, 0) == cudaSuccess;
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    recording.generation = generation_;
    recording.fails = !recorded;
    if (recorded) return true;
    recording.Forget();
    cudaGetLastError();
    failure_ = before;
    return false;
  }

  // Any number of tokens, for MultiplyHalves; their powers come first.
  bool RoundAll(cuda::View<const float> x) {
    const std::size_t powers = AlignedTo(x.rows * sizeof(float), kPartAlignment);
    if (!Reserve(powers + x.rows * cuda::PaddedCols(x.cols) * 2, "rounded activations", all_rounded_)) return false;
    all_halves_ = all_rounded_.data() + powers;
    cuda::RoundTokens(x, all_halves_, reinterpret_cast<float*>(all_rounded_.data()), On());
    return true;
  }

  // out = the rounded tokens * weight^T + bias. fp16 weights are multiplied as they are.
  void MultiplyHalves(const CudaWeight& weight, cuda::View<const float> bias, std::size_t tokens,
                      cuda::View<float> out) {
    const std::size_t k = cuda::PaddedCols(weight.cols()), at_once = RowsAtOnce(weight);
    if (!weight.is_halves() && !Reserve(at_once * k * 2, "decoded weights", decoded_)) return;
    const float power = weight.power();
    for (std::size_t first = 0; first < weight.rows(); first += at_once) {
      const std::size_t count = std::min(at_once, weight.rows() - first);
      const void* rows = decoded_.data();
      if (weight.is_halves()) {
        rows = weight.packed().codes + first * weight.packed().pitch;
      } else if (weight.is_w4()) {
        cuda::DecodeW4RowsToHalves(weight.w4(), first, count, power, decoded_.data(), On());
      } else {
        cuda::DecodeRowsToHalves(weight.packed(), first, count, power, decoded_.data(), On());
      }
      Note(cublas_->MultiplyHalves(all_halves_, rows, k, {out.data + first, tokens, count, out.stride}));
    }
    cuda::ScaleTokens(out, reinterpret_cast<const float*>(all_rounded_.data()), power, bias, On());
  }

  // Rows of a weight that are decoded at once.
  static std::size_t RowsAtOnce(const CudaWeight& weight) {
    const std::size_t most = std::max<std::size_t>(1, kMostDecoded / std::max<std::size_t>(1, weight.cols()));
    return std::min(weight.rows(), AlignedTo(most, cuda::kRecordRows));
  }

  // Some rows of the weight after the other are decoded and multiplied.
  void MultiplyMany(const CudaWeight& weight, cuda::View<const float> bias, cuda::View<const float> x,
                    cuda::View<float> out) {
    const std::size_t at_once = RowsAtOnce(weight);
    if (!Reserve(at_once * weight.cols() * sizeof(float), "decoded weights", decoded_)) return;
    auto* const rows = reinterpret_cast<float*>(decoded_.data());
    for (std::size_t first = 0; first < weight.rows(); first += at_once) {
      const std::size_t count = std::min(at_once, weight.rows() - first);
      if (weight.is_w4()) {
        cuda::DecodeW4Rows(weight.w4(), first, count, rows, On());
      } else {
        cuda::DecodeRows(weight.packed(), first, count, rows, On());
      }
      Note(cublas_->Multiply(x, rows, {out.data + first, out.rows, count, out.stride}));
    }
    if (bias.data != nullptr) cuda::AddRow(bias, out, On());
  }

  int index_;
  ThreadPool pool_;  // packs weights
  bool halves_;      // products may round activations to fp16
  std::string hardware_;
  std::string arithmetic_;
  cudaStream_t stream_;
  std::unique_ptr<cuda::Cublas> cublas_;
  CudaMemory workspace_;  // of cuBLAS
  CudaMemory decoded_;
  CudaMemory rounded_;      // by RoundInput
  CudaMemory all_rounded_;  // by RoundAll
  void* all_halves_ = nullptr;
  std::uint64_t generation_ = 0;  // of the three; recordings of older ones are made again
  Status failure_;
};

Error NoDevice(const std::string& why) { return {ErrorCode::kUnsupported, "CUDA: " + why}; }

Status StatusOfCall(cudaError_t code) {
  if (code == cudaSuccess) return {};
  return NoDevice(fmt::format("{} ({})", cudaGetErrorString(code), cudaGetErrorName(code)));
}

constexpr int kLeastMajor = 8;  // compute capability

// Raised with the same rule as kArithmeticVersion, for this backend alone.
constexpr int kCudaArithmeticVersion = 2;

std::string DescribeHardware(const cudaDeviceProp& properties) {
  const auto version = [](int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); };
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("{} (sm_{}{}, {:.1f} GiB, ECC {}), CUDA {}, driver for CUDA {}", properties.name, properties.major,
                     properties.minor, static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                     properties.ECCEnabled != 0 ? "on" : "off", version(runtime), version(driver));
}

}  // namespace

bool BuiltWithCuda() { return true; }

int CountCudaDevices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

Result<std::unique_ptr<Backend>> MakeCudaBackend(int index, int threads, Activations activations) {
  int count = 0;
  if (auto status = StatusOfCall(cudaGetDeviceCount(&count)); !status) return status.error();
  if (count == 0) return NoDevice("this machine has no device");
  if (index < 0 || index >= count) {
    return Error{ErrorCode::kUsage, fmt::format("CUDA: there is no device {}; want one of 0 to {}", index, count - 1)};
  }
  cudaDeviceProp properties;
  if (auto status = StatusOfCall(cudaGetDeviceProperties(&properties, index)); !status) return status.error();
  if (properties.major < kLeastMajor) {
    return NoDevice(fmt::format("device {}, {}, has compute capability {}.{}; want {}.0 or more", index,
                                properties.name, properties.major, properties.minor, kLeastMajor));
  }
  if (auto status = StatusOfCall(cudaSetDevice(index)); !status) return status.error();
  cudaStream_t stream = nullptr;
  if (auto status = StatusOfCall(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); !status) {
    return status.error();
  }
  cudaMemPool_t pool = nullptr;
  if (cudaDeviceGetDefaultMemPool(&pool, index) == cudaSuccess) {
    std::uint64_t all = UINT64_MAX;  // memory that is freed stays with the process
    cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all);
  }
  auto cublas = cuda::Cublas::Load(stream);
  if (!cublas) {
    cudaStreamDestroy(stream);
    return cublas.error();
  }
  const bool halves = activations != Activations::kFp32 && cuda::CanMultiplyW4Few(properties.major);
  std::string arithmetic = fmt::format("cuda/sm_{}{}/{} v{}", properties.major, properties.minor,
                                       halves ? "fp16" : "fp32", kCudaArithmeticVersion);
  auto backend =
      std::make_unique<CudaBackend>(index, threads == 0 ? AvailableThreads() : threads, halves,
                                    DescribeHardware(properties), std::move(arithmetic), stream, *std::move(cublas));
  if (auto status = backend->Start(); !status) return status.error();
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace marlin
