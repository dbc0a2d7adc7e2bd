// Attention of the CPU backend on a CpuCache: shares the work between threads and cuts it into tiles (AttentionTile).
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/matrix.h"
#include "kernels/backend.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu_cache.h"
#include "kernels/cpu_workers.h"

namespace marlin {

// Rows (position, head) of an attention tile: enough to read each block of keys seldom, few enough for the L2 cache.
inline constexpr std::size_t kAttentionRows = 64;
inline constexpr std::size_t kAttentionHeads = 16;

// Floats that Attend needs in the work space of a thread.
inline constexpr std::size_t kAttentionWorkspace =
    AttentionWorkspace(std::max(kAttentionRows, kAttentionHeads), kMaxHeadDim);

// Backend::Append; keys and values [rows, kv_heads * head_dim] of the positions from `position`.
void AppendToCache(CpuCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
                   MatrixView<const float> values, CpuWorkers& workers);

// AttentionArgs in host memory.
struct HostAttention {
  const CpuCache& cache;
  const AttentionArgs& args;  // layer, heads, scale, window, softcap
  MatrixView<const float> q;
  std::size_t position;  // of the first row
  MatrixView<float> out;
};

// Backend::Attention.
void Attend(const HostAttention& attention, const OpsTable& ops, CpuWorkers& workers);

}  // namespace marlin
