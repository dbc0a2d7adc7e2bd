#include "kernels/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cuda/cublas.h"
#include "kernels/cuda/cuda_chain.h"
#include "kernels/cuda/cuda_products.h"
#include "kernels/cuda/cuda_queue.h"
#include "kernels/cuda/cuda_weight.h"
#include "kernels/cuda/few.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/many.h"
#include "kernels/cuda/nvml.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/quantizer.h"
#include "kernels/cuda/read.h"
#include "kernels/cuda/round.h"
#include "kernels/host_buffer.h"

namespace marlin {
namespace {

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
  bool replays() const override { return graph != nullptr; }
  std::string_view kernel() const override { return chain ? "cuda/chain-fp16" : std::string_view(); }

  void Forget() {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    graph = nullptr;
    chain.reset();
  }

  cudaGraphExec_t graph = nullptr;
  std::uint64_t generation = 0;           // of the backend's own memory, which the graph reads
  bool fails = false;                     // the operations cannot be recorded
  std::optional<CudaChainProgram> chain;  // that the graph launches
};

class CudaBackend final : public Backend,
                          private Yardsticks,
                          private DenseAlgebra,
                          private Quantizer,
                          private CudaQueue {
 public:
  CudaBackend(int index, int threads, bool halves, bool many, bool chains, std::string hardware, std::string arithmetic,
              cudaStream_t stream, std::unique_ptr<cuda::Cublas> cublas)
      : CudaQueue(static_cast<const Device&>(*this), index, stream),
        pool_(threads),
        halves_(halves),
        many_(many),
        chains_(chains),
        hardware_(std::move(hardware)),
        arithmetic_(std::move(arithmetic)),
        cublas_(std::move(cublas)) {
    products_.emplace(static_cast<CudaQueue&>(*this), *cublas_);
    chain_.emplace(static_cast<CudaQueue&>(*this));
  }
  ~CudaBackend() override { cudaStreamSynchronize(On()); }

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
    if (cudaDeviceGetDefaultMemPool(&pool, index()) != cudaSuccess ||
        cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &bytes) != cudaSuccess) {
      return std::nullopt;
    }
    return bytes;
  }
  std::string_view rounding() const override { return halves_ ? "fp16" : "fp32"; }
  int threads() const override { return pool_.threads(); }
  std::optional<std::size_t> free_bytes() const override {
    cudaStreamSynchronize(On());  // memory is freed in the order of the queue
    return FreeCudaBytes(index());
  }
  std::optional<std::size_t> cache_bytes() const override {
    const int bytes = Attribute(cudaDevAttrL2CacheSize);
    return bytes > 0 ? std::optional<std::size_t>(bytes) : std::nullopt;
  }
  DeviceState state() override {
    if (nvml_ == nullptr) {
      char pci_bus[32] = {};
      if (cudaDeviceGetPCIBusId(pci_bus, sizeof pci_bus, index()) == cudaSuccess) nvml_ = cuda::Nvml::Open(pci_bus);
    }
    return nvml_ == nullptr ? DeviceState() : nvml_->State();
  }

  Yardsticks* yardsticks() override { return this; }
  std::string_view product() const override { return "cuBLAS FP16"; }
  void SumWords(const DeviceTensor& from, const DeviceTensor& sum) override {
    MARLIN_CHECK(from.stride == from.cols && from.offset % 4 == 0 && sum.rows * sum.cols == 1, "words to read");
    cuda::SumWords(Words(from), from.rows * from.cols, Attribute(cudaDevAttrMultiProcessorCount), Words(sum), On());
    NoteLaunch();
  }
  void MultiplyHalfPairs(const DeviceTensor& x, const DeviceTensor& weights, const DeviceTensor& out) override {
    const std::size_t n = weights.rows, k = 2 * weights.cols;
    const auto whole = [](const DeviceTensor& tensor) { return tensor.stride == tensor.cols; };
    MARLIN_CHECK(n % 8 == 0 && k % 8 == 0 && 2 * x.cols == k && out.rows == x.rows && 2 * out.cols == n && whole(x) &&
                     whole(weights) && whole(out),
                 "shape of a product of pairs");
    Note(cublas_->MultiplyToHalves(Words(x), Words(weights), x.rows, n, k, Words(out)));
  }

  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override {
    auto memory = CudaMemory::Allocate(BytesToAllocate(elements, type), "activations", On());
    if (!memory) return memory.error();
    return std::unique_ptr<Buffer>(std::make_unique<CudaBuffer>(*this, *std::move(memory)));
  }

  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override {
    MARLIN_CHECK(from.size() == to.bytes(), "bytes to upload");
    products_->Forget();
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
    products_->Forget();
    chain_->NoteOther();
    if (from.bytes() == 0) return;
    const std::size_t size = BytesOf(from.type);
    Note(cudaMemcpy2DAsync(BytesAt(to), to.stride * size, BytesAt(from), from.stride * size, from.cols * size,
                           from.rows, cudaMemcpyDeviceToDevice, On()));
  }
  void Clear(const DeviceTensor& to) override {
    products_->Forget();
    chain_->NoteOther();
    if (to.bytes() == 0) return;
    const std::size_t size = BytesOf(to.type);
    Note(cudaMemset2DAsync(BytesAt(to), to.stride * size, 0, to.cols * size, to.rows, On()));
  }
  // The first call queues directly, and so allocates what the operations need of the backend's own memory.
  void QueueRecorded(std::unique_ptr<Recording>& recording, const std::function<void()>& queue) override {
    if (recording == nullptr) {
      recording = std::make_unique<CudaRecording>(*this);
      return queue();
    }
    CudaRecording& own = Own<CudaRecording>(*this, *recording);
    if (own.fails) return queue();
    if (own.graph == nullptr || own.generation != products_->generation()) {
      if (!Record(queue, own)) return queue();
    }
    products_->Forget();
    Note(cudaGraphLaunch(own.graph, On()));
  }
  Status Synchronize() override {
    Note(cudaStreamSynchronize(On()));
    return TakeFailure();
  }

  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    const std::size_t floats = BytesToAllocate(CudaCache::Elements(shape, shape.layers.size()), ElementType::kF32);
    const std::size_t bytes = halves_ ? floats / 2 : floats;
    auto memory = CudaMemory::Allocate(bytes, "keys and values", On());
    if (!memory) return memory.error();
    return std::unique_ptr<KvCache>(std::make_unique<CudaCache>(*this, shape, halves_, *std::move(memory)));
  }

  std::size_t BytesToPack(const FormatInfo& format, std::size_t rows, std::size_t cols) const override {
    return SizeOfWeight(format, rows, cols, halves_);
  }
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override {
    CudaWeightType type = CudaWeightTypeOf(matrix, halves_, pool_);
    type.many = many_;
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
    if (weight.is_few()) {
      cuda::EmbedRows(weight.few(), Ints(tokens), Floats(out), On());
    } else {
      cuda::EmbedRows(weight.packed(), Ints(tokens), Floats(out), On());
    }
    NoteLaunch();
  }

  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override {
    chain_->NoteOther();
    products_->Matmul(weights, biases, x, outs);
  }
  void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                  std::span<const DeviceTensor> outs) override {
    if (chain_->TakesNormMatmul(norm, weights, biases, outs)) return;
    products_->NormMatmul(norm, weights, biases, outs);
  }
  void MatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x, const DeviceTensor& product,
                 const DeviceTensor& to, float factor) override {
    if (chain_->TakesMatmulAdd(weight, bias, x, to, factor)) return;
    const CudaChain::Inside inside(*chain_);
    if (products_->MatmulAdd(weight, bias, x, product, to, factor)) return;
    Backend::MatmulAdd(weight, bias, x, product, to, factor);
  }
  void GatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights,
                   std::span<const DeviceTensor> biases) override {
    if (chain_->TakesGatedMatmul(args, weights, biases)) return;
    const CudaChain::Inside inside(*chain_);
    if (products_->GatedMatmul(args, weights, biases)) return;
    Backend::GatedMatmul(args, weights, biases);
  }

  void Norm(const NormArgs& norm) override {
    cuda::Normalize(norm.kind, ConstFloats(norm.x), FloatsOrNone(norm.weight), FloatsOrNone(norm.bias), norm.eps,
                    Floats(norm.y), On());
    NoteLaunch();
  }

  void Rope(const RopeArgs& args) override {
    cuda::Rotate(Floats(args.x), args.head_dim, TablesOf(args), Ints(args.positions), On());
    NoteLaunch();
  }

  void RopeAppend(const RopeArgs& queries, const RopeArgs& keys, const AppendArgs& append) override {
    const cuda::CacheView cache = Own<CudaCache>(*this, *append.cache).Layer(append.layer);
    if (chain_->TakesRopeAppend(cache, queries, keys, append)) return;
    const CudaChain::Inside inside(*chain_);
    cuda::RotateAndAppend(cache, Ints(append.positions), TablesOf(queries), Floats(queries.x), TablesOf(keys),
                          Floats(keys.x), ConstFloats(append.values), On());
    NoteLaunch();
  }

  void Append(const AppendArgs& args) override {
    cuda::AppendRows(Own<CudaCache>(*this, *args.cache).Layer(args.layer), Ints(args.positions), ConstFloats(args.keys),
                     ConstFloats(args.values), On());
    NoteLaunch();
  }

  void Attention(const AttentionArgs& args, const DeviceTensor& out) override {
    const cuda::CacheView cache = Own<const CudaCache>(*this, *args.cache).Layer(args.layer);
    if (chain_->TakesAttention(cache, args, out)) return;
    const CudaChain::Inside inside(*chain_);
    cuda::Attend({args.heads, args.scale, args.window, args.softcap}, ConstFloats(args.q), cache, Ints(args.positions),
                 Floats(out), On());
    NoteLaunch();
  }

  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override {
    chain_->NoteOther();
    products_->GatedActivation(activation, gate, up);
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

  DenseAlgebra* dense_algebra() override { return this; }
  void MultiplyDense(const DenseProductArgs& args) override {
    const std::size_t m = args.transposed ? args.a.cols : args.a.rows, l = args.transposed ? args.a.rows : args.a.cols;
    MARLIN_CHECK(args.c.rows == m && args.b.rows == l && args.b.cols == args.c.cols && l > 0,
                 "shapes of a dense product");
    products_->Forget();
    if (args.c.bytes() == 0) return;
    args.c.type == ElementType::kF64 ? MultiplyAs<double>(args) : MultiplyAs<float>(args);
  }
  void Symmetrize(const DeviceTensor& upper, const DeviceTensor& order, double factor,
                  const DeviceTensor& out) override {
    const std::size_t k = out.rows;
    MARLIN_CHECK(out.cols == k && upper.rows == k && upper.cols == k, "shape of a symmetric matrix");
    const auto places = order.buffer == nullptr ? cuda::View<const std::int32_t>() : Ints(order);
    MARLIN_CHECK(places.data == nullptr || places.rows == k, "an order of all rows");
    if (out.type == ElementType::kF64) {
      cuda::Symmetrize(ConstFloats(upper), places, factor, Doubles(out), On());
    } else {
      cuda::Symmetrize(ConstFloats(upper), places, factor, Floats(out), On());
    }
    NoteLaunch();
  }

  Quantizer* quantizer() override { return this; }
  void SearchScales(const ScaleSearchArgs& args) override {
    const FormatInfo& format = args.format->info;
    MARLIN_CHECK(args.importance.rows == 1 && args.importance.cols == args.weights.cols, "shapes of a search");
    cuda::SearchScales(format, ConstFloats(args.weights), ConstFloats(args.importance),
                       ParamsOf(format, args.params, args.weights.rows, args.weights.cols), args.improves, On());
    NoteLaunch();
  }
  void Transpose(const DeviceTensor& from, const DeviceTensor& to) override {
    MARLIN_CHECK(from.rows == to.cols && from.cols == to.rows, "shapes of a transposition");
    // Only bits move.
    cuda::Transpose(ViewOf<const float>(from, from.type), ViewOf<float>(to, from.type), On());
    NoteLaunch();
  }
  void PackCodes(const CodedTensors& matrix, const DeviceTensor& bytes) override {
    const DeviceTensor& codes = matrix.codes;
    MARLIN_CHECK(
        matrix.format->info.code_bits <= 8 && bytes.rows == codes.cols && bytes.cols == WordsOfCodes(codes.rows),
        "shape of packed codes");
    cuda::PackCodes(ViewOf<std::int32_t>(codes, ElementType::kI32), ViewOf<std::int32_t>(bytes, ElementType::kI32),
                    On());
    NoteLaunch();
  }
  void RoundBlock(const RoundBlockArgs& args) override {
    const std::size_t width = args.fed.rows;
    MARLIN_CHECK(args.order.rows == width && args.order.stride == 1 && args.pivots.rows == width &&
                     args.pivots.stride == 1 && args.feedback.rows == width && args.feedback.cols >= width &&
                     args.fed.cols == args.matrix.weights.cols,
                 "shapes of a block");
    CheckSameShape(args.fed, args.errors);
    const auto order = ViewOf<const std::int32_t>(args.order, ElementType::kI32);
    const auto pivots = ViewOf<const double>(args.pivots, ElementType::kF64);
    const auto feedback = ViewOf<const double>(args.feedback, ElementType::kF64);
    cuda::RoundBlock(CodedOf(args.matrix), {order.data, pivots.data, feedback, Doubles(args.fed), Doubles(args.errors)},
                     On());
    NoteLaunch();
  }
  void FindErrors(const CodedTensors& matrix, const DeviceTensor& errors) override {
    CheckSameShape(matrix.weights, errors);
    cuda::FindErrors(CodedOf(matrix), Floats(errors), On());
    NoteLaunch();
  }
  void DescendBlock(const DescendBlockArgs& args) override {
    const std::size_t width = args.gradient.rows;
    CheckSameShape(args.matrix.weights, args.errors);
    MARLIN_CHECK(args.square.rows == width && args.square.cols == width && args.low + width <= args.errors.rows &&
                     args.gradient.cols == args.errors.cols,
                 "shapes of a block");
    const auto changed = ViewOf<std::int32_t>(args.changed, ElementType::kI32);
    cuda::DescendBlock(CodedOf(args.matrix),
                       {args.low, ConstFloats(args.square), Floats(args.gradient), Floats(args.errors), changed.data},
                       On());
    NoteLaunch();
  }

 private:
  template <class T>
  void MultiplyAs(const DenseProductArgs& args) {
    const auto type = args.c.type;
    On();
    Note(cublas_->MultiplyDense<T>(ViewOf<const T>(args.a, type), args.transposed, ViewOf<const T>(args.b, type),
                                   static_cast<T>(args.factor), args.adds, ViewOf<T>(args.c, type)));
  }
  GroupParams* ParamsOf(const FormatInfo& format, const DeviceTensor& params, std::size_t n, std::size_t k) {
    const std::size_t words = GroupsPerRow(format, k) * kParamWords;
    MARLIN_CHECK(HasGroups(format) && params.rows == n && params.cols == words && params.stride == words,
                 "shape of params");
    return reinterpret_cast<GroupParams*>(ViewOf<std::int32_t>(params, ElementType::kI32).data);
  }
  cuda::CodedMatrix CodedOf(const CodedTensors& matrix) {
    const FormatInfo& format = matrix.format->info;
    const std::size_t k = matrix.weights.rows, n = matrix.weights.cols;
    MARLIN_CHECK(matrix.codes.rows == k && matrix.codes.cols == n, "a code for every weight");
    return {&format, ConstFloats(matrix.weights), ViewOf<std::int32_t>(matrix.codes, ElementType::kI32),
            ParamsOf(format, matrix.params, n, k), matrix.params.cols / kParamWords};
  }
  // Of the device; 0 where CUDA does not tell.
  int Attribute(cudaDeviceAttr which) const {
    int value = 0;
    return cudaDeviceGetAttribute(&value, which, index()) == cudaSuccess ? value : 0;
  }
  // At the end of every operation that queues kernels.
  void NoteLaunch() {
    chain_->NoteOther();
    products_->Forget();
    CudaQueue::NoteLaunch();
  }

  cuda::RopeTables TablesOf(const RopeArgs& args) const {
    return {ConstFloats(args.cos), ConstFloats(args.sin), args.neighbours};
  }
  // What `queue` queues, as a graph; null where that cannot be recorded. Nothing is queued.
  cudaGraph_t Capture(const std::function<void()>& queue) {
    cudaGraph_t graph = nullptr;
    if (cudaStreamBeginCapture(On(), cudaStreamCaptureModeThreadLocal) != cudaSuccess) return nullptr;
    queue();
    if (cudaStreamEndCapture(On(), &graph) == cudaSuccess && ok()) return graph;
    if (graph != nullptr) cudaGraphDestroy(graph);
    return nullptr;
  }
  // Ends with the graph. Null: nothing.
  static bool Instantiate(cudaGraph_t graph, CudaRecording& recording) {
    if (graph == nullptr) return false;
    const bool made = cudaGraphInstantiate(&recording.graph, graph, 0) == cudaSuccess;
    cudaGraphDestroy(graph);
    if (!made) recording.graph = nullptr;
    return made;
  }
  // Records the operations again, where those that were noted are a chain.
  bool RecordChain(const std::function<void()>& queue, CudaRecording& recording) {
    recording.chain = chain_->StopNotes();
    if (!recording.chain) return false;
    chain_->StartRunning(*recording.chain);
    cudaGraph_t const graph = Capture(queue);
    chain_->StopRunning();
    if (Instantiate(graph, recording)) return true;
    recording.Forget();
    static_cast<void>(TakeFailure());  // without the chain they run
    cudaGetLastError();
    return false;
  }
  // Records what `queue` queues. False where that cannot be recorded; then nothing was queued.
  bool Record(const std::function<void()>& queue, CudaRecording& recording) {
    recording.Forget();
    Status before = TakeFailure();
    if (chains_) chain_->StartNotes();
    cudaGraph_t const graph = Capture(queue);
    bool recorded = graph != nullptr;
    if (recorded && chains_ && RecordChain(queue, recording)) {
      cudaGraphDestroy(graph);
    } else {
      recorded = Instantiate(graph, recording);
    }
    chain_->StopRunning();
    PutFailure(std::move(before));
    recording.generation = products_->generation();
    recording.fails = !recorded;
    if (recorded) return true;
    recording.Forget();
    cudaGetLastError();
    return false;
  }

  ThreadPool pool_;  // packs weights
  bool halves_;      // products may round activations to fp16
  bool many_;        // the device runs the kernel of many.h
  bool chains_;      // recorded decode steps run as chains where they can
  std::string hardware_;
  std::string arithmetic_;
  CudaMemory workspace_;  // of cuBLAS
  std::unique_ptr<cuda::Cublas> cublas_;
  std::optional<CudaProducts> products_;
  std::optional<CudaChain> chain_;
  std::unique_ptr<cuda::Nvml> nvml_;  // null until it is asked, and where it is not there
};

// 13000 = 13.0
std::string CudaVersion(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

Error NoDevice(const std::string& why) { return {ErrorCode::kUnsupported, "CUDA: " + why}; }

Status StatusOfCall(cudaError_t code) {
  if (code == cudaSuccess) return {};
  if (code == cudaErrorInsufficientDriver) {  // CUDA's own words say the same of a driver that is not there
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return NoDevice("this machine has no NVIDIA driver; without --device cuda the CPU is used");
    return NoDevice(fmt::format("the NVIDIA driver is one for CUDA {}; want {} or newer", CudaVersion(driver),
                                CudaVersion(runtime)));
  }
  return NoDevice(fmt::format("{} ({})", cudaGetErrorString(code), cudaGetErrorName(code)));
}

constexpr int kLeastMajor = 8;  // compute capability

// Raised with the same rule as kArithmeticVersion, for this backend alone.
constexpr int kCudaArithmeticVersion = 3;

std::string DescribeHardware(const cudaDeviceProp& properties) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("{} (sm_{}{}, {:.1f} GiB, ECC {}), CUDA {}, driver for CUDA {}", properties.name, properties.major,
                     properties.minor, static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                     properties.ECCEnabled != 0 ? "on" : "off", CudaVersion(runtime), CudaVersion(driver));
}

}  // namespace

bool BuiltWithCuda() { return true; }

int CountCudaDevices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

Result<std::unique_ptr<Backend>> MakeCudaBackend(int index, int threads, Activations activations, bool chains) {
  int count = 0;
  if (auto status = StatusOfCall(cudaGetDeviceCount(&count)); !status) return status.error();
  if (count == 0) return NoDevice("this machine has no NVIDIA device; without --device cuda the CPU is used");
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
  const bool halves = activations != Activations::kFp32 && cuda::CanMultiplyRounded(properties.major);
  std::string arithmetic = fmt::format("cuda/sm_{}{}/{} v{}", properties.major, properties.minor,
                                       halves ? "fp16" : "fp32", kCudaArithmeticVersion);
  const bool many = cuda::CanMultiplyMany(properties.major, properties.minor);
  auto backend =
      std::make_unique<CudaBackend>(index, threads == 0 ? AvailableThreads() : threads, halves, many, halves && chains,
                                    DescribeHardware(properties), std::move(arithmetic), stream, *std::move(cublas));
  if (auto status = backend->Start(); !status) return status.error();
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace marlin
