#include "kernels/cuda/cuda_chain.h"

#include "kernels/cuda/cuda_weight.h"

namespace marlin {

void CudaChain::StartNotes() {
  mode_ = Mode::kNotes;
  operations_.clear();
  ended_ = broken_ = false;
}

std::optional<CudaChainProgram> CudaChain::StopNotes() {
  mode_ = Mode::kOff;
  const std::vector<cuda::ChainOperation> operations = std::exchange(operations_, {});
  if (broken_ || operations.empty()) return {};
  queue_.On();
  const int blocks = cuda::BlocksOfChain();
  auto program = cuda::MakeChain(operations, blocks, nullptr);
  if (!program || !cuda::CanRunChain(program->format, program->head_dim)) return {};
  CudaChainProgram out;
  const auto take = [&](std::size_t bytes, CudaMemory& memory) {
    return CudaMemory::Allocate(bytes, "the steps of decoding", queue_.On()).MoveTo(memory).ok();
  };
  constexpr std::size_t kCounters = 2 * sizeof(unsigned);
  if (!take(program->bytes, out.between) || !take(program->steps.size() * sizeof(cuda::ChainStep), out.steps) ||
      !take(kCounters, out.counters)) {
    return {};
  }
  program = cuda::MakeChain(operations, blocks, out.between.data());
  if (!program || !Fill(*program, out)) return {};
  return out;
}

bool CudaChain::Fill(const cuda::ChainProgram& program, CudaChainProgram& out) {
  out.format = program.format;
  out.head_dim = program.head_dim;
  out.args.steps = reinterpret_cast<const cuda::ChainStep*>(out.steps.data());
  out.args.count = static_cast<int>(program.steps.size());
  out.args.position = program.position;
  out.args.counters = reinterpret_cast<unsigned*>(out.counters.data());
  const cudaStream_t stream = queue_.On();
  queue_.Note(
      cudaMemcpyAsync(out.steps.data(), program.steps.data(), out.steps.bytes(), cudaMemcpyHostToDevice, stream));
  queue_.Note(cudaMemsetAsync(out.counters.data(), 0, out.counters.bytes(), stream));
  queue_.Note(cudaStreamSynchronize(stream));  // before `program` ends
  return queue_.ok();
}

void CudaChain::StartRunning(const CudaChainProgram& program) {
  mode_ = Mode::kRuns;
  program_ = &program;
  launched_ = false;
}

template <class Make>
bool CudaChain::Takes(Make make) {
  if (mode_ == Mode::kOff || inside_) return false;
  if (mode_ == Mode::kRuns) {
    Launch();
    return true;
  }
  std::optional<cuda::ChainOperation> operation = make();
  broken_ = broken_ || ended_ || !operation;
  if (!broken_) operations_.push_back(*std::move(operation));
  return false;
}

void CudaChain::Launch() {
  if (std::exchange(launched_, true)) return;
  cuda::LaunchChain(program_->format, program_->head_dim, program_->args, queue_.On());
  queue_.NoteLaunch();
}

bool CudaChain::TakesNormMatmul(const NormArgs& norm, std::span<const Weight* const> weights,
                                std::span<const DeviceTensor> biases, std::span<const DeviceTensor> outs) {
  return Takes([&]() -> std::optional<cuda::ChainOperation> {
    const auto own = NormOf(norm);
    if (!own) return {};
    cuda::ChainNormedProducts out = {*own, {}};
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto factor = FactorOf(*weights[i], biases, i, outs[i]);
      if (!factor) return {};
      out.factors.push_back(*factor);
    }
    return out;
  });
}

bool CudaChain::TakesRopeAppend(const cuda::CacheView& cache, const RopeArgs& queries, const RopeArgs& keys,
                                const AppendArgs& append) {
  return Takes([&]() -> std::optional<cuda::ChainOperation> {
    const bool alike = queries.head_dim == cache.head_dim && keys.head_dim == cache.head_dim;
    if (queries.x.rows != 1 || !alike) return {};
    return cuda::ChainRopeAppend{cache,
                                 queue_.Ints(append.positions).data,
                                 TablesOf(queries),
                                 TablesOf(keys),
                                 queue_.ConstFloats(queries.x).data,
                                 queue_.ConstFloats(keys.x).data,
                                 queue_.ConstFloats(append.values).data};
  });
}

bool CudaChain::TakesAttention(const cuda::CacheView& cache, const AttentionArgs& args, const DeviceTensor& out) {
  return Takes([&]() -> std::optional<cuda::ChainOperation> {
    if (args.q.rows != 1) return {};
    return cuda::ChainAttend{{args.heads, args.scale, args.window, args.softcap},
                             cache,
                             queue_.Ints(args.positions).data,
                             queue_.ConstFloats(args.q).data,
                             queue_.ConstFloats(out).data};
  });
}

bool CudaChain::TakesMatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x,
                               const DeviceTensor& to, float factor) {
  return Takes([&]() -> std::optional<cuda::ChainOperation> {
    const auto own = FactorOf(weight, {&bias, 1}, 0, to);
    if (!own || x.rows != 1) return {};
    return cuda::ChainAddedProduct{*own, queue_.ConstFloats(x).data, factor};
  });
}

bool CudaChain::TakesGatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights,
                                 std::span<const DeviceTensor> biases) {
  return Takes([&]() -> std::optional<cuda::ChainOperation> {
    if (!args.norm || weights.size() != 2) return {};
    const auto norm = NormOf(*args.norm);
    const auto gate = FactorOf(*weights[0], biases, 0, args.gate), up = FactorOf(*weights[1], biases, 1, args.up);
    if (!norm || !gate || !up) return {};
    return cuda::ChainGatedProducts{*norm, *gate, *up, args.activation};
  });
}

std::optional<cuda::ChainNorm> CudaChain::NormOf(const NormArgs& norm) const {
  if (norm.x.rows != 1 || norm.bias.buffer != nullptr) return {};
  return cuda::ChainNorm{queue_.ConstFloats(norm.x), queue_.FloatsOrNone(norm.weight).data, norm.eps, norm.kind};
}

std::optional<cuda::ChainFactor> CudaChain::FactorOf(const Weight& weight, std::span<const DeviceTensor> biases,
                                                     std::size_t i, const DeviceTensor& out) const {
  const CudaWeight& own = Own<const CudaWeight>(queue_.device(), weight);
  if (!own.is_few() || out.rows != 1) return {};
  const float* const bias = biases.empty() ? nullptr : queue_.FloatsOrNone(biases[i]).data;
  return cuda::ChainFactor{own.few(), bias, queue_.ConstFloats(out).data};
}

cuda::RopeTables CudaChain::TablesOf(const RopeArgs& args) const {
  return {queue_.ConstFloats(args.cos), queue_.ConstFloats(args.sin), args.neighbours};
}

}  // namespace marlin
