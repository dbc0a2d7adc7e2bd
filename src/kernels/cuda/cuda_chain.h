// Runs the layers of a recorded decode step as a chain (chain_layout.h), where its operations are those of one. It
// notes them while they are recorded the usual way; while they are recorded again it takes them all.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/chain.h"
#include "kernels/cuda/chain_program.h"
#include "kernels/cuda/cuda_queue.h"

namespace marlin {

// A program with its memory, for as long as the recording that launches it.
struct CudaChainProgram {
  cuda::FewFormat format;
  std::size_t head_dim = 0;
  cuda::ChainArgs args;
  CudaMemory steps, counters, between;
};

class CudaChain {
 public:
  explicit CudaChain(CudaQueue& queue) : queue_(queue) {}

  void StartNotes();
  // What was noted since StartNotes, ready to run. None: it is no chain, or there is no memory.
  std::optional<CudaChainProgram> StopNotes();

  // From now on operations are taken, the first of which launches the program; until StopRunning.
  void StartRunning(const CudaChainProgram& program);
  void StopRunning() { mode_ = Mode::kOff; }

  // Each is called before the operation is queued. True: it must not be.
  bool TakesNormMatmul(const NormArgs& norm, std::span<const Weight* const> weights,
                       std::span<const DeviceTensor> biases, std::span<const DeviceTensor> outs);
  bool TakesRopeAppend(const cuda::CacheView& cache, const RopeArgs& queries, const RopeArgs& keys,
                       const AppendArgs& append);
  bool TakesAttention(const cuda::CacheView& cache, const AttentionArgs& args, const DeviceTensor& out);
  bool TakesMatmulAdd(const Weight& weight, const DeviceTensor& bias, const DeviceTensor& x, const DeviceTensor& to,
                      float factor);
  bool TakesGatedMatmul(const GatedArgs& args, std::span<const Weight* const> weights,
                        std::span<const DeviceTensor> biases);

  // Any other operation: it may stand before a chain or behind it.
  void NoteOther() { ended_ = ended_ || (!inside_ && !operations_.empty()); }

  // While one lives, operations are parts of the one that was noted last.
  class Inside {
   public:
    explicit Inside(CudaChain& chain) : chain_(chain), before_(std::exchange(chain.inside_, true)) {}
    ~Inside() { chain_.inside_ = before_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    CudaChain& chain_;
    bool before_;
  };

 private:
  enum class Mode { kOff, kNotes, kRuns };

  // make: gives the operation as a chain takes it, or none.
  template <class Make>
  bool Takes(Make make);
  void Launch();

  std::optional<cuda::ChainNorm> NormOf(const NormArgs& norm) const;
  std::optional<cuda::ChainFactor> FactorOf(const Weight& weight, std::span<const DeviceTensor> biases, std::size_t i,
                                            const DeviceTensor& out) const;
  cuda::RopeTables TablesOf(const RopeArgs& args) const;
  bool Fill(const cuda::ChainProgram& program, CudaChainProgram& out);

  CudaQueue& queue_;
  Mode mode_ = Mode::kOff;
  std::vector<cuda::ChainOperation> operations_;
  bool inside_ = false;
  bool ended_ = false;   // another operation stands behind them
  bool broken_ = false;  // what was noted is no chain
  const CudaChainProgram* program_ = nullptr;
  bool launched_ = false;
};

}  // namespace marlin
