// Device: memory and a queue of operations, and the handles of what lies in its memory. Its operations are in
// backend.h.
//
// The host never reads device memory through a pointer. It copies with Upload and Download. Operations, Upload,
// Download and Copy are queued in the order of the calls and may run later. Synchronize waits for them and gives the
// first error.
//
// Thread-safety: one thread at a time calls a device and its objects. Different devices are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/result.h"

namespace marlin {

class Device;

// What lies in the memory of a device and may only be given to its operations. The destructor frees the memory when no
// queued operation needs it any more. The device outlives it.
class DeviceObject {
 public:
  virtual ~DeviceObject() = default;
  DeviceObject(const DeviceObject&) = delete;
  DeviceObject& operator=(const DeviceObject&) = delete;
  const Device* device() const { return device_; }

 protected:
  explicit DeviceObject(const Device& device) : device_(&device) {}

 private:
  const Device* device_;
};

enum class ElementType : std::uint8_t { kF32, kF64, kI32 };

constexpr std::size_t BytesOf(ElementType type) { return type == ElementType::kF64 ? 8 : 4; }

// Memory of a device, not initialized.
class Buffer : public DeviceObject {
 public:
  virtual std::size_t bytes() const = 0;

  using DeviceObject::DeviceObject;
};

// A buffer to allocate, and where it goes.
struct BufferRequest {
  std::unique_ptr<Buffer>* to;
  std::size_t elements;
  ElementType type = ElementType::kF32;
};

// A matrix in a buffer: a handle, which can be cut but not read. Row-major.
struct DeviceTensor {
  const Buffer* buffer = nullptr;  // null = there is no tensor
  std::size_t offset = 0;          // of the first element, in elements
  ElementType type = ElementType::kF32;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;  // elements from one row to the next, >= cols

  std::size_t bytes() const { return rows * cols * BytesOf(type); }  // without the gaps between rows

  DeviceTensor Rows(std::size_t begin, std::size_t count) const {
    MARLIN_CHECK(begin <= rows && count <= rows - begin, "rows of a tensor");
    return {buffer, offset + begin * stride, type, count, cols, stride};
  }
  // The same elements in rows of another length; there are no gaps between the rows.
  DeviceTensor Reshape(std::size_t new_rows, std::size_t new_cols) const {
    MARLIN_CHECK(stride == cols && new_rows * new_cols == rows * cols, "a tensor in another shape");
    return {buffer, offset, type, new_rows, new_cols, new_cols};
  }
};

inline void CheckSameShape(const DeviceTensor& a, const DeviceTensor& b) {
  MARLIN_CHECK(a.type == b.type && a.rows == b.rows && a.cols == b.cols, "two tensors of the same shape and type");
}

// The first rows * cols elements of a buffer.
inline DeviceTensor View(const std::unique_ptr<Buffer>& buffer, std::size_t rows, std::size_t cols,
                         ElementType type = ElementType::kF32) {
  return {buffer.get(), 0, type, rows, cols, cols};
}

// Raised whenever the same operation on the same device gives other bits: an order of summation, a rounding, a
// function.
inline constexpr int kArithmeticVersion = 1;

// Operations of a device that it can queue again as a whole.
class Recording : public DeviceObject {
 public:
  // Whether they are queued as a whole. Else the device queues them one by one, as it does where it fills no recording.
  virtual bool replays() const = 0;
  // The kernel that runs them as one. Empty: each has its own.
  virtual std::string_view kernel() const { return {}; }

  using DeviceObject::DeviceObject;
};

// What a device tells of itself at a moment. Empty = it does not tell.
struct DeviceState {
  std::optional<std::string> driver;  // its version
  std::optional<double> clock_mhz, memory_clock_mhz;
  std::optional<double> most_clock_mhz, most_memory_clock_mhz;  // that it can have
  std::optional<double> power_w, power_limit_w;
  std::optional<double> temperature_c;
  std::optional<bool> ecc;
};

// Plain work of a device that shows what it can do at most. Its times are what those of kernels are compared with. It
// is queued as operations are.
class Yardsticks {
 public:
  virtual ~Yardsticks() = default;

  // sum: int32 [1, 1], the sum of all elements of `from` (int32, no gaps between rows) modulo 2^32, in any order.
  virtual void SumWords(const DeviceTensor& from, const DeviceTensor& sum) = 0;

  // The name of the library that MultiplyHalfPairs calls, and of its precision: "cuBLAS FP16".
  virtual std::string_view product() const = 0;

  // out [m, n / 2] = x [m, k / 2] * weights [n, k / 2]^T by the library of the device's maker. Everything is fp16, two
  // numbers in an element of int32, the first one in the lower half; sums are fp32. No gaps between rows. k and n:
  // multiples of 8.
  virtual void MultiplyHalfPairs(const DeviceTensor& x, const DeviceTensor& weights, const DeviceTensor& out) = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual std::string_view name() const = 0;  // for records; as its row in backends.cc

  // Everything about it that decides the bits of its results, beside what it computes: "cpu/avx2/int16 v1". Devices of
  // equal arithmetic give equal bits on every machine and for every number of threads.
  virtual std::string arithmetic() const = 0;

  // What computes, for records: "NVIDIA H200, ...". None where it is the host's processor.
  virtual std::optional<std::string> hardware() const { return std::nullopt; }

  // The lowest precision to which products round activations, where `hardware` computes: "fp32", "fp16".
  virtual std::string_view rounding() const { return "fp32"; }

  // Tokens that are best run together where there are many: a GPU idles with few. 1: it does not matter.
  virtual std::size_t tokens_at_once() const { return 1; }

  // The four are empty where the device is the host's processor with the host's memory.
  // Bytes that Allocate and Pack can still get.
  virtual std::optional<std::size_t> free_bytes() const { return std::nullopt; }
  // The most bytes that were allocated at once so far.
  virtual std::optional<std::size_t> peak_bytes() const { return std::nullopt; }
  // Of the last-level cache.
  virtual std::optional<std::size_t> cache_bytes() const { return std::nullopt; }
  // Null where there are none. They live as long as the device.
  virtual Yardsticks* yardsticks() { return nullptr; }

  virtual DeviceState state() { return {}; }

  // Host threads that it uses, and that work beside it may use.
  virtual int threads() const = 0;

  // Errors: kResource.
  virtual Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type = ElementType::kF32) = 0;

  // A buffer for each request of a range. Errors: kResource.
  template <class Requests = std::initializer_list<BufferRequest>>
  Status AllocateAll(const Requests& requests) {
    for (const BufferRequest& request : requests) {
      auto buffer = Allocate(request.elements, request.type);
      if (!buffer) return buffer.error();
      *request.to = *std::move(buffer);
    }
    return {};
  }

  // Bytes of all rows, without gaps. `from` may be changed after the call. `to` of a download is undefined before
  // Synchronize and exists until then.
  virtual void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) = 0;
  virtual void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) = 0;

  // The same shape and type; both on this device. They do not overlap.
  virtual void Copy(const DeviceTensor& from, const DeviceTensor& to) = 0;

  // All elements become 0.
  virtual void Clear(const DeviceTensor& to) = 0;

  // Calls `queue`, which queues operations. Or queues what it queued before, from `recording`, which the device fills
  // and the caller keeps: operations with the same arguments every time, on the same objects.
  virtual void QueueRecorded(std::unique_ptr<Recording>& /*recording*/, const std::function<void()>& queue) { queue(); }

  // Waits until everything queued has run. Errors: the first of an operation since the last call. What was downloaded
  // since then is undefined after an error.
  virtual Status Synchronize() = 0;

  // Of ranges of values.
  template <class Values>
  void Upload(const Values& from, const DeviceTensor& to) {
    UploadBytes(std::as_bytes(std::span(from)), to);
  }
  template <class Values>
  void Download(const DeviceTensor& from, Values&& to) {
    DownloadBytes(from, std::as_writable_bytes(std::span(to)));
  }
  // Download and Synchronize.
  template <class Values>
  Status Read(const DeviceTensor& from, Values&& to) {
    Download(from, to);
    return Synchronize();
  }
};

}  // namespace marlin
