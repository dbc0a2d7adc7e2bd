#include "records/record_ranges.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "records/record_fields.h"

namespace marlin {
namespace {

struct Range {
  double low = 0;
  double high = 0;
};

// 2^53: JSON's numbers are exact below it.
constexpr Range kWhole = {0, 9007199254740992};
constexpr Range kReal = {-1e15, 1e15};

// By the last name of a field. Fields that are not listed have the ranges above.
constexpr std::pair<std::string_view, Range> kRanges[] = {
    {"load_before", {0, 1e6}},
    {"load_after", {0, 1e6}},
    {"clock_mhz_before", {0, 1e6}},
    {"clock_mhz_after", {0, 1e6}},
    {"cores", {0, 1e6}},
    {"threads", {0, 1e6}},
    {"group", {0, 1e9}},
    {"bits", {0, 1e3}},
    {"max_context", {0, 1e9}},
    {"cache_bytes_per_position", {0, 1e9}},
    {"work_bytes_per_position", {0, 1e9}},
    {"metric_version", {0, 1e6}},
    {"kl", {0, 1e6}},
    {"probe_kl", {0, 1e6}},
    {"kl_median", {0, 1e6}},
    {"kl_p90", {0, 1e6}},
    {"kl_p99", {0, 1e6}},
    {"kl_p999", {0, 1e6}},
    {"kl_max", {0, 1e6}},
    {"low", {0, 1e3}},
    {"per_decade", {0, 1e3}},
    {"seconds", {0, 1e10}},
    {"warmup", {0, 1e9}},
    {"iterations", {0, 1e9}},
    {"trim_sigma", {0, 1e6}},
    {"samples_ns", {0, 1e17}},
    {"max_relative_error", {0, 1e6}},
    {"tolerance", {0, 1e6}},
    {"read_gbps", {0, 1e9}},
    {"fma_gflops", {0, 1e12}},
    {"bf16_gflops", {0, 1e12}},
    {"int16_gops", {0, 1e12}},
    {"int8_gops", {0, 1e12}},
    {"error", {0, 1e15}},
};

Range RangeOf(std::string_view name, Range usual) {
  const auto found = std::ranges::find(kRanges, name, [](const auto& row) { return row.first; });
  return found == std::end(kRanges) ? usual : found->second;
}

// Walks the fields and stops at the first number outside.
class Walk {
 public:
  template <class T>
  void operator()(std::string_view name, const T& field) {
    if (found_) return;
    const std::string outer =
        std::exchange(path_, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name));
    Check(name, field);
    path_ = outer;
  }

  const std::optional<OutOfRange>& found() const { return found_; }

 private:
  static bool IsInside(double x, Range range) { return std::isfinite(x) && x >= range.low && x <= range.high; }

  void Want(double x, Range range, const std::string& where) {
    if (IsInside(x, range)) return;
    found_ =
        OutOfRange{path_ + where, fmt::format("is {}, a number from {} to {} was wanted", x, range.low, range.high)};
  }

  void Check(std::string_view name, double x) { Want(x, RangeOf(name, kReal), ""); }
  void Check(std::string_view name, std::uint64_t x) { Want(static_cast<double>(x), RangeOf(name, kWhole), ""); }
  void Check(std::string_view, bool) {}
  void Check(std::string_view, const std::string&) {}
  void Check(std::string_view, record::Kind) {}
  template <class T>
  void Check(std::string_view name, const std::optional<T>& x) {
    if (x) Check(name, *x);
  }
  template <class T>
  void Check(std::string_view name, const std::vector<T>& list) {
    [[maybe_unused]] const Range range = RangeOf(name, std::is_same_v<T, double> ? kReal : kWhole);
    for (std::size_t i = 0; i < list.size() && !found_; ++i) {
      if constexpr (std::is_arithmetic_v<T>) {
        if (!IsInside(static_cast<double>(list[i]), range)) {
          Want(static_cast<double>(list[i]), range, fmt::format("[{}]", i));
        }
      } else if constexpr (!std::is_same_v<T, std::string>) {
        const std::string outer = std::exchange(path_, fmt::format("{}[{}]", path_, i));
        VisitFields(*this, list[i]);
        path_ = outer;
      }
    }
  }
  template <class T>
  void Check(std::string_view, const T& section) {
    VisitFields(*this, section);
  }

  std::string path_;
  std::optional<OutOfRange> found_;
};

template <class T>
std::optional<OutOfRange> FirstOf(const T& record) {
  Walk walk;
  VisitFields(walk, record);
  return walk.found();
}

}  // namespace

std::optional<OutOfRange> FirstOutOfRange(const Record& record) { return FirstOf(record); }

std::optional<OutOfRange> FirstOutOfRange(const ExternalRecord& record) { return FirstOf(record); }

}  // namespace marlin
