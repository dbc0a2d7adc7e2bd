// A stream of a CUDA device, the first error of what was queued on it, and tensors as kernels take them.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <utility>

#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/operations.h"
#include "kernels/host_buffer.h"

namespace marlin {

class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(const Device& device, CudaMemory memory) : Buffer(device), memory_(std::move(memory)) {}
  std::size_t bytes() const override { return memory_.bytes(); }
  std::byte* data() const { return memory_.data(); }

 private:
  CudaMemory memory_;
};

// Not copied: it owns the stream.
class CudaQueue {
 public:
  // Takes over the stream. device: whose buffers these are.
  CudaQueue(const Device& device, int index, cudaStream_t stream) : device_(device), index_(index), stream_(stream) {}
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;
  ~CudaQueue() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  const Device& device() const { return device_; }
  int index() const { return index_; }

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
  bool ok() const { return failure_.ok(); }
  // Recording operations must not mix their errors with earlier ones.
  Status TakeFailure() { return std::exchange(failure_, Status()); }
  void PutFailure(Status failure) { failure_ = std::move(failure); }

  // The tensor's first byte. All its rows lie in the buffer.
  std::byte* BytesAt(const DeviceTensor& tensor) const {
    MARLIN_CHECK(tensor.buffer != nullptr, "there is no tensor");
    const CudaBuffer& buffer = Own<const CudaBuffer>(device_, *tensor.buffer);
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
  std::uint32_t* Words(const DeviceTensor& tensor) const {
    return ViewOf<std::uint32_t>(tensor, ElementType::kI32).data;
  }

 private:
  const Device& device_;
  int index_;
  cudaStream_t stream_;
  Status failure_;
};

}  // namespace marlin
