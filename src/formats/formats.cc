#include "formats/formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/descend_row.h"
#include "formats/round_row.h"
#include "formats/search.h"

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

template <Format F>
constexpr auto RoundRowOf() -> decltype(FormatRow::round_row) {
  if constexpr (HasGroups(F::kInfo)) return &RoundRowByGptq<F>;
  return nullptr;
}
template <Format F>
constexpr auto ImproveRowOf() -> decltype(FormatRow::improve_row) {
  if constexpr (HasGroups(F::kInfo)) return &ImproveRow<F>;
  return nullptr;
}

template <Format... Fs>
constexpr auto MakeRows(FormatList<Fs...>) {
  return std::array{FormatRow{Fs::kInfo, &Fs::Fit, &Fs::Propose, &Fs::RoundScale, &Fs::RoundBias, &Fs::Settle,
                              &RoundAll<Fs>, &DecodeAll<Fs>, &RoundEach<Fs>, &ErrorOf<Fs>, &SearchParams<Fs>,
                              &ImproveParams<Fs>, &Refit<Fs>, RoundRowOf<Fs>(), ImproveRowOf<Fs>()}...};
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
