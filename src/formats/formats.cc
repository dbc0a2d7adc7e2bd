#include "formats/formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace marlin {
namespace {

template <Format F>
void RoundAll(std::span<const float> weights, const GroupParams& params, std::span<std::uint32_t> codes) noexcept {
  for (std::size_t i = 0; i < weights.size(); ++i) codes[i] = F::Round(weights[i], params);
}

template <Format F>
void DecodeAll(std::span<const std::uint32_t> codes, const GroupParams& params, std::span<float> weights) noexcept {
  for (std::size_t i = 0; i < codes.size(); ++i) weights[i] = F::Decode(codes[i], params);
}

template <Format F>
void RoundEach(std::span<const float> weights, std::span<const GroupParams> params, std::span<std::uint32_t> codes,
               std::span<float> values) noexcept {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    codes[i] = F::Round(weights[i], params[i]);
    values[i] = F::Decode(codes[i], params[i]);
  }
}

// The terms are computed some at a time, which compilers vectorize, and added in order.
template <Format F>
double ErrorOfAll(std::span<const float> weights, std::span<const float> importance, const GroupParams& params,
                  double limit) noexcept {
  constexpr std::size_t kAtOnce = 32;
  const GroupParams own = params;
  double sum = 0;
  double terms[kAtOnce];
  for (std::size_t begin = 0; begin < weights.size() && sum < limit; begin += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, weights.size() - begin);
    for (std::size_t i = 0; i < count; ++i) {
      const double error = weights[begin + i] - NearestOf<F>(weights[begin + i], own);
      terms[i] = static_cast<double>(importance[begin + i]) * (error * error);
    }
    for (std::size_t i = 0; i < count; ++i) sum += terms[i];
  }
  return sum;
}

template <Format... Fs>
constexpr auto MakeRows(FormatList<Fs...>) {
  return std::array{FormatRow{Fs::kInfo, &Fs::Fit, &Fs::Propose, &Fs::RoundScale, &Fs::RoundBias, &Fs::Settle,
                              &RoundAll<Fs>, &DecodeAll<Fs>, &RoundEach<Fs>, &ErrorOfAll<Fs>}...};
}

constexpr auto kRows = MakeRows(AllFormats{});

constexpr bool IdsAndNamesAreUnique() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (kRows[i].info.id == kRows[j].info.id || kRows[i].info.name == kRows[j].info.name) return false;
    }
  }
  return true;
}
static_assert(IdsAndNamesAreUnique());

// A fallback is a format of the list that takes rows of any length.
constexpr bool FallbacksEnd() {
  for (const FormatRow& row : kRows) {
    const auto fallback =
        std::ranges::find_if(kRows, [&](const FormatRow& other) { return other.info.name == row.info.fallback; });
    if (!row.info.fallback.empty() && (fallback == kRows.end() || !fallback->info.fallback.empty())) return false;
  }
  return true;
}
static_assert(FallbacksEnd());

}  // namespace

std::span<const FormatRow> Formats() { return kRows; }

const FormatRow* FindFormat(std::string_view name) {
  for (const FormatRow& row : kRows) {
    if (row.info.name == name) return &row;
  }
  return nullptr;
}

const FormatRow* FindFormat(std::uint16_t id) {
  for (const FormatRow& row : kRows) {
    if (row.info.id == id) return &row;
  }
  return nullptr;
}

const FormatRow& FormatForRows(const FormatRow& format, std::size_t cols) {
  return FitsRows(format.info, cols) ? format : *FindFormat(format.info.fallback);
}

Result<const FormatRow*> ParseFormat(std::string_view name) {
  if (const FormatRow* row = FindFormat(name)) return row;
  std::string known;
  for (const FormatRow& row : kRows) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.info.name);
  return Error{ErrorCode::kUsage, fmt::format("no weight format is called \"{}\"; want one of: {}", name, known)};
}

}  // namespace marlin
