#include "files/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <unordered_set>

#include "base/check.h"

namespace marlin {
namespace {

// Far above any real file, so that a hostile count costs bounded memory (at most a few hundred MB, and only when the
// file really is that long).
constexpr std::uint64_t kMaxTensors = 1u << 20;
constexpr std::uint64_t kMaxPairs = 1u << 16;
constexpr std::uint64_t kMaxStrings = 1u << 24;  // in all arrays together; the largest vocabularies have 2^18 tokens
constexpr std::size_t kMaxDims = 4;

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;  // 0: string or array
};

// Indexed by GgufType.
constexpr std::array<TypeInfo, 13> kTypes = {{{"u8", 1},
                                              {"i8", 1},
                                              {"u16", 2},
                                              {"i16", 2},
                                              {"u32", 4},
                                              {"i32", 4},
                                              {"f32", 4},
                                              {"bool", 1},
                                              {"string", 0},
                                              {"array", 0},
                                              {"u64", 8},
                                              {"i64", 8},
                                              {"f64", 8}}};

// ggml's tensor types by number; those without a dtype are known by name only.
struct GgmlType {
  std::uint32_t id;
  std::string_view name;
  std::optional<DType> dtype;
};

constexpr std::array kGgmlTypes = {
    GgmlType{0, "F32", DType::kF32},
    GgmlType{1, "F16", DType::kF16},
    GgmlType{2, "Q4_0", DType::kQ4_0},
    GgmlType{3, "Q4_1", DType::kQ4_1},
    GgmlType{6, "Q5_0", DType::kQ5_0},
    GgmlType{7, "Q5_1", DType::kQ5_1},
    GgmlType{8, "Q8_0", DType::kQ8_0},
    GgmlType{9, "Q8_1", {}},
    GgmlType{10, "Q2_K", DType::kQ2_K},
    GgmlType{11, "Q3_K", DType::kQ3_K},
    GgmlType{12, "Q4_K", DType::kQ4_K},
    GgmlType{13, "Q5_K", DType::kQ5_K},
    GgmlType{14, "Q6_K", DType::kQ6_K},
    GgmlType{15, "Q8_K", {}},
    GgmlType{16, "IQ2_XXS", {}},
    GgmlType{17, "IQ2_XS", {}},
    GgmlType{18, "IQ3_XXS", {}},
    GgmlType{19, "IQ1_S", {}},
    GgmlType{20, "IQ4_NL", DType::kIQ4_NL},
    GgmlType{21, "IQ3_S", {}},
    GgmlType{22, "IQ2_S", {}},
    GgmlType{23, "IQ4_XS", DType::kIQ4_XS},
    GgmlType{24, "I8", DType::kI8},
    GgmlType{25, "I16", DType::kI16},
    GgmlType{26, "I32", DType::kI32},
    GgmlType{27, "I64", DType::kI64},
    GgmlType{28, "F64", DType::kF64},
    GgmlType{29, "IQ1_M", {}},
    GgmlType{30, "BF16", DType::kBF16},
    GgmlType{34, "TQ1_0", {}},
    GgmlType{35, "TQ2_0", {}},
    GgmlType{39, "MXFP4", DType::kMXFP4},
    GgmlType{40, "NVFP4", DType::kNVFP4},
};

template <class T>
T Load(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Reads the file front to back and never past its end.
class Reader {
 public:
  explicit Reader(const MappedFile& file) : file_(file), bytes_(file.bytes()) {}

  // An error of the whole file; an error at the reader's position.
  Error Refuse(const std::string& what, ErrorCode code = ErrorCode::kInput) const {
    return {code, fmt::format("{}: {}", file_.path().string(), what)};
  }
  Error Fail(const std::string& what, ErrorCode code = ErrorCode::kInput) const {
    return Refuse(fmt::format("{} (at byte {})", what, position_), code);
  }
  Error Truncated(std::string_view what) const {
    return Fail(fmt::format("the file ends inside {}; it is truncated or not a GGUF file, download it again", what));
  }

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  // The next `size` bytes.
  Result<std::span<const std::uint8_t>> Take(std::uint64_t size, std::string_view what) {
    if (size > remaining()) return Truncated(what);
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += taken.size();
    return taken;
  }

  template <class T>
  Result<T> Number(std::string_view what) {
    const auto taken = Take(sizeof(T), what);
    if (!taken) return taken.error();
    return Load<T>(taken->data());
  }

  Result<std::string_view> String(std::string_view what) {
    const auto size = Number<std::uint64_t>(what);
    if (!size) return size.error();
    const auto taken = Take(*size, what);
    if (!taken) return taken.error();
    return std::string_view(reinterpret_cast<const char*>(taken->data()), taken->size());
  }

 private:
  const MappedFile& file_;
  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;
};

Result<GgufType> ReadType(Reader& reader, const std::string& what) {
  const auto type = reader.Number<std::uint32_t>(what);
  if (!type) return type.error();
  if (*type >= kTypes.size()) return reader.Fail(fmt::format("{} has the unknown type {}", what, *type));
  return static_cast<GgufType>(*type);
}

GgufValue Scalar(GgufType type, std::span<const std::uint8_t> bytes) {
  const GgufNumbers numbers{type, 1, bytes};
  if (type == GgufType::kBool) return bytes[0] != 0;
  if (!numbers.is_integer()) return numbers.Number(0);
  const std::int64_t value = numbers.Integer(0);
  if (type == GgufType::kU64 && value < 0) return static_cast<std::uint64_t>(value);
  return value;
}

Result<GgufValue> ReadArray(Reader& reader, const std::string& what, std::uint64_t& strings_left) {
  const auto type = ReadType(reader, what);
  if (!type) return type.error();
  const auto count = reader.Number<std::uint64_t>(what);
  if (!count) return count.error();
  if (*type == GgufType::kArray) {
    return reader.Fail(what + " is an array of arrays, which this program does not read", ErrorCode::kUnsupported);
  }
  if (*type != GgufType::kString) {
    const std::size_t bytes = kTypes[static_cast<std::size_t>(*type)].bytes;
    if (*count > reader.remaining() / bytes) return reader.Truncated(what);
    return GgufValue(GgufNumbers{*type, static_cast<std::size_t>(*count), *reader.Take(*count * bytes, what)});
  }
  if (*count > reader.remaining() / sizeof(std::uint64_t)) return reader.Truncated(what);
  if (*count > strings_left)
    return reader.Fail(fmt::format("{} has {} strings, more than any real file", what, *count));
  strings_left -= *count;
  GgufStrings strings;
  strings.reserve(static_cast<std::size_t>(*count));
  for (std::uint64_t i = 0; i < *count; ++i) {
    const auto string = reader.String(what);
    if (!string) return string.error();
    strings.push_back(*string);
  }
  return GgufValue(std::move(strings));
}

Result<GgufValue> ReadValue(Reader& reader, const std::string& what, std::uint64_t& strings_left) {
  const auto type = ReadType(reader, what);
  if (!type) return type.error();
  if (*type == GgufType::kArray) return ReadArray(reader, what, strings_left);
  if (*type == GgufType::kString) {
    const auto string = reader.String(what);
    if (!string) return string.error();
    return GgufValue(*string);
  }
  const auto bytes = reader.Take(kTypes[static_cast<std::size_t>(*type)].bytes, what);
  if (!bytes) return bytes.error();
  return Scalar(*type, *bytes);
}

Status ReadMetadata(Reader& reader, std::uint64_t pairs, std::map<std::string_view, GgufValue>& metadata) {
  std::uint64_t strings_left = kMaxStrings;
  for (std::uint64_t i = 0; i < pairs; ++i) {
    const auto key = reader.String("a metadata key");
    if (!key) return key.error();
    const std::string what = fmt::format("metadata \"{}\"", Printable(*key));
    if (key->empty()) return reader.Fail("a metadata key is empty");
    if (metadata.contains(*key)) return reader.Fail(what + " appears twice");
    auto value = ReadValue(reader, what, strings_left);
    if (!value) return value.error();
    metadata.emplace(*key, std::move(*value));
  }
  return {};
}

// A tensor's entry; its bytes are found when the start of the data is known.
struct TensorEntry {
  Tensor tensor;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
};

Result<DType> ReadGgmlType(Reader& reader, const std::string& what) {
  const auto id = reader.Number<std::uint32_t>(what);
  if (!id) return id.error();
  const auto row = std::find_if(kGgmlTypes.begin(), kGgmlTypes.end(), [&](const GgmlType& t) { return t.id == *id; });
  if (row != kGgmlTypes.end() && row->dtype) return *row->dtype;
  std::string readable;
  for (const GgmlType& type : kGgmlTypes) {
    if (type.dtype && Info(*type.dtype).is_weight)
      readable += fmt::format("{}{}", readable.empty() ? "" : ", ", type.name);
  }
  const std::string name = row != kGgmlTypes.end() ? std::string(row->name) : fmt::format("number {}", *id);
  return reader.Fail(
      fmt::format("{} has the type {}, which this program does not read; it reads {}", what, name, readable),
      ErrorCode::kUnsupported);
}

Result<TensorEntry> ReadEntry(Reader& reader) {
  TensorEntry entry;
  const auto name = reader.String("a tensor name");
  if (!name) return name.error();
  if (name->empty()) return reader.Fail("a tensor has no name");
  entry.tensor.name = *name;
  const std::string what = fmt::format("tensor {}", Printable(*name));

  const auto dims = reader.Number<std::uint32_t>(what);
  if (!dims) return dims.error();
  if (*dims > kMaxDims) return reader.Fail(fmt::format("{} has {} dimensions, want at most {}", what, *dims, kMaxDims));
  for (std::uint32_t i = 0; i < *dims; ++i) {
    const auto dim = reader.Number<std::uint64_t>(what);
    if (!dim) return dim.error();
    if (*dim == 0) return reader.Fail(what + " has a dimension of 0");
    entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<std::size_t>(*dim));
  }
  const auto dtype = ReadGgmlType(reader, what);
  if (!dtype) return dtype.error();
  entry.tensor.dtype = *dtype;
  const auto bytes = ByteSize(*dtype, entry.tensor.shape, what);
  if (!bytes) return reader.Fail(bytes.error().message);
  entry.bytes = *bytes;
  const auto offset = reader.Number<std::uint64_t>(what);
  if (!offset) return offset.error();
  entry.offset = *offset;
  return entry;
}

// Gives every tensor its bytes. `data` begins at the first byte after the padded header.
Status PlaceTensors(const Reader& reader, std::span<const std::uint8_t> data, std::uint64_t alignment,
                    std::vector<TensorEntry>& entries) {
  std::vector<const TensorEntry*> order;
  for (TensorEntry& entry : entries) {
    const std::string what = fmt::format("tensor {}", Printable(entry.tensor.name));
    if (entry.offset % alignment != 0) {
      return reader.Fail(fmt::format("{} starts at offset {}, want a multiple of {}", what, entry.offset, alignment));
    }
    if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
      return reader.Fail(
          fmt::format("{} needs bytes {} to {} of the data, which has {}; the file is truncated, download it "
                      "again",
                      what, entry.offset, entry.offset + entry.bytes, data.size()));
    }
    entry.tensor.bytes = data.subspan(static_cast<std::size_t>(entry.offset), entry.bytes);
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes) {
      return reader.Fail(fmt::format("tensors {} and {} overlap", Printable(order[i - 1]->tensor.name),
                                     Printable(order[i]->tensor.name)));
    }
  }
  return {};
}

Result<std::vector<Tensor>> ReadTensors(Reader& reader, std::uint64_t count, std::uint64_t alignment,
                                        std::span<const std::uint8_t> file) {
  std::vector<TensorEntry> entries;
  std::unordered_set<std::string> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto entry = ReadEntry(reader);
    if (!entry) return entry.error();
    if (!names.insert(entry->tensor.name).second) {
      return reader.Fail(fmt::format("tensor {} appears twice", Printable(entry->tensor.name)));
    }
    entries.push_back(std::move(*entry));
  }
  const std::uint64_t start = (reader.position() + alignment - 1) / alignment * alignment;
  const auto data = file.subspan(static_cast<std::size_t>(std::min<std::uint64_t>(start, file.size())));
  if (auto status = PlaceTensors(reader, data, alignment, entries); !status) return status.error();
  std::vector<Tensor> tensors;
  for (TensorEntry& entry : entries) tensors.push_back(std::move(entry.tensor));
  return tensors;
}

Result<std::uint32_t> ReadVersion(Reader& reader) {
  const auto magic = reader.Take(4, "the header");
  if (!magic) return magic.error();
  if (std::memcmp(magic->data(), "GGUF", 4) != 0)
    return reader.Refuse("not a GGUF file: it does not begin with \"GGUF\"");
  const auto version = reader.Number<std::uint32_t>("the header");
  if (!version) return version.error();
  if ((*version & 0xffffu) == 0) {
    return reader.Fail("the file is big-endian, which this program does not read", ErrorCode::kUnsupported);
  }
  if (*version != 2 && *version != 3) {
    return reader.Fail(fmt::format("GGUF version {} is not supported; supported are 2 and 3", *version),
                       ErrorCode::kUnsupported);
  }
  return *version;
}

Result<std::uint64_t> ReadCount(Reader& reader, std::string_view of, std::uint64_t limit) {
  const auto count = reader.Number<std::uint64_t>("the header");
  if (!count) return count.error();
  if (*count > limit)
    return reader.Fail(fmt::format("the header announces {} {}, more than any real file", *count, of));
  return *count;
}

constexpr std::array<std::string_view, std::variant_size_v<GgufValue>> kValueNames = {
    "a boolean", "an integer",          "an integer beyond 2^63", "a real number",
    "a string",  "an array of numbers", "an array of strings"};

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > 80 ? "..." : "");
}

std::int64_t GgufNumbers::Integer(std::size_t i) const {
  MARLIN_CHECK(i < size && is_integer(), "an integer of the array");
  const std::uint8_t* at = bytes.data() + i * kTypes[static_cast<std::size_t>(type)].bytes;
  switch (type) {
    case GgufType::kU8:
      return Load<std::uint8_t>(at);
    case GgufType::kI8:
      return Load<std::int8_t>(at);
    case GgufType::kU16:
      return Load<std::uint16_t>(at);
    case GgufType::kI16:
      return Load<std::int16_t>(at);
    case GgufType::kU32:
      return Load<std::uint32_t>(at);
    case GgufType::kI32:
      return Load<std::int32_t>(at);
    case GgufType::kBool:
      return Load<std::uint8_t>(at) != 0;
    default:
      return Load<std::int64_t>(at);
  }
}

double GgufNumbers::Number(std::size_t i) const {
  MARLIN_CHECK(i < size, "an element of the array");
  if (type == GgufType::kF32) return static_cast<double>(Load<float>(bytes.data() + 4 * i));
  if (type == GgufType::kF64) return Load<double>(bytes.data() + 8 * i);
  return static_cast<double>(Integer(i));
}

Error GgufFile::WrongType(std::string_view key, const GgufValue& wanted) const {
  return {ErrorCode::kInput, fmt::format("{}: metadata \"{}\" is {}, want {}", file.path().string(), key,
                                         kValueNames[metadata.find(key)->second.index()], kValueNames[wanted.index()])};
}

Error GgufFile::Missing(std::string_view key) const {
  return {ErrorCode::kInput, fmt::format("{}: metadata \"{}\" is missing", file.path().string(), key)};
}

std::optional<std::uint32_t> GgmlTypeNumber(DType dtype) {
  const auto row = std::ranges::find(kGgmlTypes, std::optional(dtype), &GgmlType::dtype);
  return row == kGgmlTypes.end() ? std::nullopt : std::optional(row->id);
}

GgufFile GgufFile::InMemory(const std::filesystem::path& path, std::map<std::string_view, GgufValue> metadata,
                            std::vector<Tensor> tensors) {
  GgufFile gguf(MappedFile::Nothing(path));
  gguf.version = 3;
  gguf.metadata = std::move(metadata);
  gguf.tensors = std::move(tensors);
  return gguf;
}

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  auto mapped = MappedFile::Open(path);
  if (!mapped) return mapped.error();
  GgufFile gguf(std::move(*mapped));
  Reader reader(gguf.file);
  const auto version = ReadVersion(reader);
  if (!version) return version.error();
  gguf.version = *version;
  const auto tensors = ReadCount(reader, "tensors", kMaxTensors);
  if (!tensors) return tensors.error();
  const auto pairs = ReadCount(reader, "metadata pairs", kMaxPairs);
  if (!pairs) return pairs.error();
  if (auto status = ReadMetadata(reader, *pairs, gguf.metadata); !status) return status.error();

  const auto alignment = gguf.Find<std::int64_t>("general.alignment");
  if (!alignment) return alignment.error();
  const std::int64_t align = *alignment != nullptr ? **alignment : 32;
  if (align <= 0 || align > (std::int64_t{1} << 30) || !std::has_single_bit(static_cast<std::uint64_t>(align))) {
    return reader.Fail(fmt::format("general.alignment is {}, want a power of two", align));
  }
  auto read = ReadTensors(reader, *tensors, static_cast<std::uint64_t>(align), gguf.file.bytes());
  if (!read) return read.error();
  gguf.tensors = std::move(*read);
  return gguf;
}

}  // namespace marlin
