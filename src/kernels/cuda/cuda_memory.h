// Memory of a CUDA device.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/result.h"

namespace marlin {

// Freed in the order of its stream: what is queued before may still use it.
class CudaMemory {
 public:
  CudaMemory() = default;
  CudaMemory(CudaMemory&& other) noexcept { *this = std::move(other); }
  CudaMemory& operator=(CudaMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~CudaMemory() {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
  }

  // what: for the message. Errors: kResource.
  static Result<CudaMemory> Allocate(std::size_t bytes, const char* what, cudaStream_t stream) {
    CudaMemory out;
    const cudaError_t code = cudaMallocAsync(&out.data_, std::max<std::size_t>(bytes, 1), stream);
    if (code != cudaSuccess) {
      out.data_ = nullptr;
      cudaGetLastError();  // it is told here; the device goes on
      std::size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      return Error{ErrorCode::kResource, fmt::format("the CUDA device has no {} bytes for {}: {} of {} are free ({})",
                                                     bytes, what, free, total, cudaGetErrorString(code))};
    }
    out.bytes_ = bytes;
    out.stream_ = stream;
    return out;
  }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
};

// What the current device can still give: its free memory, and what the pool of this process holds unused. Empty where
// CUDA does not tell.
inline std::optional<std::size_t> FreeCudaBytes(int device) {
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    cudaGetLastError();
    return std::nullopt;
  }
  cudaMemPool_t pool = nullptr;
  std::uint64_t reserved = 0, used = 0;
  if (cudaDeviceGetDefaultMemPool(&pool, device) != cudaSuccess ||
      cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved) != cudaSuccess ||
      cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used) != cudaSuccess) {
    cudaGetLastError();
    return free;
  }
  return free + (reserved - used);
}

constexpr std::size_t kPartAlignment = 256;  // of what lies together in one piece of memory
constexpr std::size_t AlignedTo(std::size_t value, std::size_t to) { return (value + to - 1) / to * to; }

}  // namespace marlin
