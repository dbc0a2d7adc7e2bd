// Buffers of devices that compute on the host, and the only place where a DeviceTensor becomes a pointer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/matrix.h"
#include "kernels/device.h"
#include "kernels/region.h"

namespace marlin {

class HostBuffer final : public Buffer {
 public:
  HostBuffer(const Device& device, Region memory, std::size_t bytes)
      : Buffer(device), memory_(std::move(memory)), data_(memory_.data()), bytes_(bytes) {}
  // Of memory that another object owns.
  HostBuffer(const Device& device, std::span<std::uint8_t> memory)
      : Buffer(device), data_(memory.data()), bytes_(memory.size()) {}

  std::size_t bytes() const override { return bytes_; }
  std::uint8_t* data() const { return data_; }

 private:
  Region memory_;
  std::uint8_t* data_;
  std::size_t bytes_;
};

// elements * size of one, or the largest number when that leaves the range: no system grants that much.
constexpr std::size_t BytesToAllocate(std::size_t elements, ElementType type) {
  const std::size_t most = std::numeric_limits<std::size_t>::max() / BytesOf(type);
  return std::clamp<std::size_t>(elements, 1, most) * BytesOf(type);
}

template <class T>
constexpr ElementType TypeOfElement() {
  using Element = std::remove_const_t<T>;
  static_assert(std::is_same_v<Element, float> || std::is_same_v<Element, double> ||
                std::is_same_v<Element, std::int32_t>);
  if (std::is_same_v<Element, double>) return ElementType::kF64;
  return std::is_same_v<Element, float> ? ElementType::kF32 : ElementType::kI32;
}

// The object as the type that this device makes.
template <class T, class Object>
auto& Own(const Device& device, Object& object) {
  MARLIN_CHECK(object.device() == &device, "an object of another device");
  return static_cast<std::conditional_t<std::is_const_v<Object>, const T, T>&>(object);
}

// The tensor's first byte. All its rows lie in the buffer.
inline std::uint8_t* HostBytes(const Device& device, const DeviceTensor& tensor) {
  MARLIN_CHECK(tensor.buffer != nullptr, "there is no tensor");
  const HostBuffer& buffer = Own<HostBuffer>(device, *tensor.buffer);
  const std::size_t size = BytesOf(tensor.type);
  const std::size_t end = tensor.rows == 0 ? 0 : tensor.offset + (tensor.rows - 1) * tensor.stride + tensor.cols;
  MARLIN_CHECK(tensor.stride >= tensor.cols && end <= buffer.bytes() / size, "a tensor ends beyond its buffer");
  return buffer.data() + tensor.offset * size;
}

template <class T>
MatrixView<T> HostView(const Device& device, const DeviceTensor& tensor) {
  MARLIN_CHECK(tensor.type == TypeOfElement<T>(), "type of a tensor");
  return {reinterpret_cast<T*>(HostBytes(device, tensor)), tensor.rows, tensor.cols, tensor.stride};
}

// The first of the positions of a sequence's tokens: int32 [rows, 1], each one more than the one before.
inline std::size_t FirstPosition(const Device& device, const DeviceTensor& positions, std::size_t rows) {
  const auto all = HostView<const std::int32_t>(device, positions);
  MARLIN_CHECK(rows > 0 && all.rows == rows && all.cols == 1, "one position for each token");
  const std::int32_t first = all.Row(0)[0];
  MARLIN_CHECK(first >= 0 && all.Row(rows - 1)[0] - first == static_cast<std::int32_t>(rows) - 1,
               "positions of a sequence");
  return static_cast<std::size_t>(first);
}

// What Device::UploadBytes, DownloadBytes, Copy and Clear do where the device's memory is the host's.
inline void UploadToHost(const Device& device, std::span<const std::byte> from, const DeviceTensor& to) {
  MARLIN_CHECK(from.size() == to.bytes(), "bytes to upload");
  const std::size_t size = BytesOf(to.type);
  std::uint8_t* const begin = HostBytes(device, to);
  for (std::size_t r = 0; r < to.rows; ++r) {
    std::memcpy(begin + r * to.stride * size, from.data() + r * to.cols * size, to.cols * size);
  }
}
inline void DownloadFromHost(const Device& device, const DeviceTensor& from, std::span<std::byte> to) {
  MARLIN_CHECK(to.size() == from.bytes(), "bytes to download");
  const std::size_t size = BytesOf(from.type);
  const std::uint8_t* const begin = HostBytes(device, from);
  for (std::size_t r = 0; r < from.rows; ++r) {
    std::memcpy(to.data() + r * from.cols * size, begin + r * from.stride * size, from.cols * size);
  }
}
inline void CopyOnHost(const Device& device, const DeviceTensor& from, const DeviceTensor& to) {
  CheckSameShape(from, to);
  const std::size_t size = BytesOf(from.type);
  const std::uint8_t* const source = HostBytes(device, from);
  std::uint8_t* const target = HostBytes(device, to);
  for (std::size_t r = 0; r < from.rows; ++r) {
    std::memcpy(target + r * to.stride * size, source + r * from.stride * size, from.cols * size);
  }
}
inline void ClearOnHost(const Device& device, const DeviceTensor& to) {
  const std::size_t size = BytesOf(to.type);
  std::uint8_t* const begin = HostBytes(device, to);
  for (std::size_t r = 0; r < to.rows; ++r) std::memset(begin + r * to.stride * size, 0, to.cols * size);
}

}  // namespace marlin
