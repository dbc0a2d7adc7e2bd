#include "files/gguf_pairs.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

namespace marlin {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

template <class T>
void AppendRaw(const T& value, std::string& out) {
  const std::size_t begin = out.size();
  out.resize(begin + sizeof(T));
  std::memcpy(out.data() + begin, &value, sizeof(T));
}

template <class T>
constexpr GgufType TypeOf() {
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::uint16_t>) return GgufType::kU16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return GgufType::kU32;
  if constexpr (std::is_same_v<T, std::int32_t>) return GgufType::kI32;
  if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
  return GgufType::kString;
}

void AppendType(GgufType type, std::string& out) { AppendGguf(static_cast<std::uint32_t>(type), out); }

template <class T>
GgufNumbers NumbersOf(GgufType type, const std::vector<T>& values) {
  return {type, values.size(), {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)}};
}

void AppendNumbers(const GgufNumbers& numbers, std::string& out) {
  AppendType(GgufType::kArray, out);
  AppendType(numbers.type, out);
  AppendGguf(std::uint64_t{numbers.size}, out);
  out.append(reinterpret_cast<const char*>(numbers.bytes.data()), numbers.bytes.size());
}

// A value as the reader gives it.
struct ToView {
  GgufValue operator()(bool value) const { return value; }
  GgufValue operator()(std::uint16_t value) const { return std::int64_t{value}; }
  GgufValue operator()(std::uint32_t value) const { return std::int64_t{value}; }
  GgufValue operator()(std::int32_t value) const { return std::int64_t{value}; }
  GgufValue operator()(float value) const { return static_cast<double>(value); }
  GgufValue operator()(const std::string& text) const { return std::string_view(text); }
  GgufValue operator()(const std::vector<std::string>& texts) const { return GgufStrings(texts.begin(), texts.end()); }
  GgufValue operator()(const std::vector<std::int32_t>& values) const { return NumbersOf(GgufType::kI32, values); }
  GgufValue operator()(const std::vector<float>& values) const { return NumbersOf(GgufType::kF32, values); }
  GgufValue operator()(const GgufFlags& flags) const { return NumbersOf(GgufType::kBool, flags.values); }
};

// Type and value as they lie in the file.
struct ToBytes {
  std::string& out;

  template <class T>
  void operator()(const T& value) const {
    AppendType(TypeOf<T>(), out);
    AppendRaw(value, out);
  }
  void operator()(const std::string& text) const {
    AppendType(GgufType::kString, out);
    AppendGguf(text, out);
  }
  void operator()(const std::vector<std::string>& texts) const {
    AppendType(GgufType::kArray, out);
    AppendType(GgufType::kString, out);
    AppendGguf(std::uint64_t{texts.size()}, out);
    for (const std::string& text : texts) AppendGguf(text, out);
  }
  void operator()(const std::vector<std::int32_t>& values) const {
    AppendNumbers(NumbersOf(GgufType::kI32, values), out);
  }
  void operator()(const std::vector<float>& values) const { AppendNumbers(NumbersOf(GgufType::kF32, values), out); }
  void operator()(const GgufFlags& flags) const { AppendNumbers(NumbersOf(GgufType::kBool, flags.values), out); }
};

}  // namespace

void AppendGguf(std::uint32_t value, std::string& out) { AppendRaw(value, out); }
void AppendGguf(std::uint64_t value, std::string& out) { AppendRaw(value, out); }
void AppendGguf(std::string_view text, std::string& out) {
  AppendGguf(std::uint64_t{text.size()}, out);
  out += text;
}

void GgufPairs::Set(std::string_view key, GgufNewValue value) {
  const auto found = std::ranges::find_if(pairs_, [&](const auto& pair) { return pair.first == key; });
  if (found != pairs_.end()) {
    found->second = std::move(value);
  } else {
    pairs_.emplace_back(key, std::move(value));
  }
}

bool GgufPairs::Has(std::string_view key) const {
  return std::ranges::any_of(pairs_, [&](const auto& pair) { return pair.first == key; });
}

std::map<std::string_view, GgufValue> GgufPairs::View() const {
  std::map<std::string_view, GgufValue> view;
  for (const auto& [key, value] : pairs_) view.emplace(key, std::visit(ToView(), value));
  return view;
}

std::string GgufPairs::Bytes() const {
  std::string out;
  for (const auto& [key, value] : pairs_) {
    AppendGguf(key, out);
    std::visit(ToBytes{out}, value);
  }
  return out;
}

}  // namespace marlin
