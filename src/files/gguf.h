// One GGUF file (versions 2 and 3, little-endian): typed metadata and tensors, with the file's names and order.
// gguf_to_hf.h translates the names to those of Hugging Face.
//
//   "GGUF" | version u32 | tensors u64 | pairs u64
//   pairs:   key | type u32 | value                              string = length u64, bytes
//   tensors: name | n_dims u32 | dims u64[n_dims], fastest first | type u32 | offset u64, from the start of the data
//   padding to general.alignment (32 unless said otherwise), then the data
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "files/tensor.h"

namespace marlin {

enum class GgufType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12
};

// An array of numbers or booleans as it lies in the file, unaligned; nothing is copied.
struct GgufNumbers {
  GgufType type = GgufType::kU8;  // not a string, not an array
  std::size_t size = 0;
  std::span<const std::uint8_t> bytes;

  bool is_integer() const { return type != GgufType::kF32 && type != GgufType::kF64; }
  // Element i < size. Integer: is_integer(); values above 2^63 - 1 become negative.
  std::int64_t Integer(std::size_t i) const;
  double Number(std::size_t i) const;
};

using GgufStrings = std::vector<std::string_view>;

// Integers of every width are std::int64_t (std::uint64_t only when the value does not fit), floats are double.
using GgufValue = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view, GgufNumbers, GgufStrings>;

// A name or a text of the file as it may stand in a message: short and printable.
std::string Printable(std::string_view text);

// The number of a type in the file; empty for types that GGUF does not have.
std::optional<std::uint32_t> GgmlTypeNumber(DType dtype);

struct GgufFile {
  // Errors: kInput (truncated, overlapping, contradictory; says what and where), kUnsupported (version, byte order,
  // nested arrays, block types; names the tensor and the type).
  static Result<GgufFile> Open(const std::filesystem::path& path);

  // The same of metadata and tensors that are in memory, before they are written; `path` names them in messages. What
  // they point into outlives the result.
  static GgufFile InMemory(const std::filesystem::path& path, std::map<std::string_view, GgufValue> metadata,
                           std::vector<Tensor> tensors);

  bool Has(std::string_view key) const { return metadata.contains(key); }

  // nullptr when the key is absent. T is one of GgufValue's types. Errors: kInput when the value has another type.
  template <class T>
  Result<const T*> Find(std::string_view key) const {
    const auto found = metadata.find(key);
    if (found == metadata.end()) return static_cast<const T*>(nullptr);
    if (const T* value = std::get_if<T>(&found->second)) return value;
    return WrongType(key, GgufValue(T{}));
  }

  // Errors: kInput also when the key is absent.
  template <class T>
  Result<T> Require(std::string_view key) const {
    auto found = Find<T>(key);
    if (!found) return found.error();
    if (*found == nullptr) return Missing(key);
    return **found;
  }

  MappedFile file;  // what every view and span below points into
  std::uint32_t version = 0;
  std::map<std::string_view, GgufValue> metadata;
  std::vector<Tensor> tensors;  // in file order; names are GGUF's, rows as stored

 private:
  explicit GgufFile(MappedFile mapped) : file(std::move(mapped)) {}
  Error WrongType(std::string_view key, const GgufValue& wanted) const;
  Error Missing(std::string_view key) const;
};

}  // namespace marlin
