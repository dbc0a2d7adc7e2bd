// The definition of a weight format: how a group of weights becomes a scale, a zero point or a bias, and codes; and
// back.
//
// A matrix [rows, cols] is divided into groups of `group` consecutive weights of one row. The last group of a row is
// short if cols is not a multiple of the group. Formats without groups (group == 0) store every weight separately.
// Some formats store scales as small multiples of a unit that many groups share: a block of groups of one row
// (super-blocks), or the whole matrix. Everything here is a pure function. encoded_matrix.h defines the byte layout.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "formats/scale.h"

namespace marlin {

// A format's name as a template argument.
template <std::size_t kSize>
struct FormatName {
  char text[kSize];
  consteval FormatName(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }  // NOLINT: literal to name
  constexpr std::string_view view() const { return {text, kSize - 1}; }
};

// The parameters shared by the weights of one group.
// weight = scale * value(code) + bias; value is code - zero_point for integer formats.
struct GroupParams {
  float scale = 0;
  float bias = 0;
  std::uint16_t scale_unit = 0;  // fp16 bits of the unit of the scale; 0: the format has none, or it is not chosen yet
  std::uint16_t bias_unit = 0;   // the same for the bias; not positive
  std::uint8_t zero_point = 0;   // 0..15; fixed_zero_point where the format stores none
  bool operator==(const GroupParams&) const = default;
};

// Who shares a unit of scales.
enum class UnitScope : std::uint8_t { kNone, kBlock, kMatrix };

struct FormatInfo {
  std::uint16_t id;         // on-disk id; never reused, never renumbered
  std::string_view name;    // command line, files and report: "fp4-g128"
  std::string_view family;  // kernels are chosen by family: "fp4", "int4", "int8", "bf16", ...
  std::string_view label;   // the report's column "type": "FP4 E2M1"
  int code_bits;            // 4, 5, 6, 8, 16 or 32
  int group;                // weights per scale; 0 = no groups
  int scale_bits;           // as stored: 16, 8 or 6; 0 without groups
  int zero_point_bits;      // 4, or 0 when none is stored
  ScaleType scale_type = ScaleType::kFp16;
  int fixed_zero_point = 0;  // of every group, where none is stored
  int bias_bits = 0;         // as stored: 16 or 6; 0 = no bias
  UnitScope unit_scope = UnitScope::kNone;
  int block = 0;                   // weights of a row that share units; rows are multiples of it
  std::string_view fallback = {};  // the format of matrices whose rows are not; empty where rows may have any length
  bool common = true;              // compared, planned and timed where the user names no format
  bool operator==(const FormatInfo&) const = default;
};

// More proposals per group than any format makes.
inline constexpr std::size_t kMaxProposals = 128;

// Fit    weights of one group -> params. `importance` (E[x^2] per column) is empty or as long as `weights`; a format
//        may ignore it. Weights are finite. Units are not chosen.
// Propose weights of one group -> params worth trying when the error is to be small, Fit's first; returns how many.
// RoundScale  the scale that fits best -> the nearest one that can be stored with the units of `like`, as in scale.h.
// RoundBias   the same for the bias; 0 where the format has none.
// Settle the params of all groups that share units: chooses the units and rounds scales and biases to them.
// Round  one weight -> the code whose decoded value is nearest; ties go to the even code magnitude.
// Decode one code -> weight. The product of scale and value is exact in fp32 for every format here: at most 24
//        significant bits. A bias rounds the sum once.
// All are constexpr, so that kernels of a GPU can call them too.
template <class F>
concept Format = requires(std::span<const float> weights, float weight, std::uint32_t code, GroupParams params,
                          std::span<GroupParams> groups, std::span<GroupParams, kMaxProposals> proposals) {
  { F::kInfo } -> std::convertible_to<FormatInfo>;
  { F::Fit(weights, weights) }
  noexcept->std::same_as<GroupParams>;
  { F::Propose(weights, proposals) }
  noexcept->std::same_as<std::size_t>;
  { F::RoundScale(weight, params) }
  noexcept->std::same_as<float>;
  { F::RoundBias(weight, params) }
  noexcept->std::same_as<float>;
  { F::Settle(groups) }
  noexcept->std::same_as<void>;
  { F::Round(weight, params) }
  noexcept->std::same_as<std::uint32_t>;
  { F::Decode(code, params) }
  noexcept->std::same_as<float>;
};

// Decode(Round(weight)), of -0 perhaps 0. Formats whose tables compilers cannot vectorize have a function for it.
template <Format F>
constexpr float NearestOf(float weight, const GroupParams& params) noexcept {
  if constexpr (requires { F::Nearest(weight, params); }) return F::Nearest(weight, params);
  return F::Decode(F::Round(weight, params), params);
}

// The same for the scale 1 and the bias 0: value(code) of Round(weight), with the zero point of `params`.
template <Format F>
constexpr float NearestValueOf(float weight, const GroupParams& params) noexcept {
  if constexpr (requires { F::NearestValue(weight, params); }) return F::NearestValue(weight, params);
  return F::Decode(F::Round(weight, params), {.scale = 1, .zero_point = params.zero_point});
}

// Formats without a bias.
struct NoBias {
  static constexpr float RoundBias(float, const GroupParams&) noexcept { return 0; }
};
// Formats without units: every scale is stored by itself.
struct NoUnits {
  static constexpr void Settle(std::span<GroupParams>) noexcept {}
};

struct RefitSums;
struct RowToRound;
struct RowToImprove;

// For FormatRow::error: the whole sum.
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// The same with the type erased: one row per format, made from the list in formats.h. The loops are compiled for each
// format, so one indirect call per group costs next to nothing.
struct FormatRow {
  FormatInfo info;
  GroupParams (*fit)(std::span<const float> weights, std::span<const float> importance) noexcept;
  std::size_t (*propose)(std::span<const float> weights, std::span<GroupParams, kMaxProposals> proposals) noexcept;
  float (*round_scale)(float wanted, const GroupParams& like) noexcept;
  float (*round_bias)(float wanted, const GroupParams& like) noexcept;
  void (*settle)(std::span<GroupParams> groups) noexcept;
  void (*round)(std::span<const float> weights, const GroupParams& params, std::span<std::uint32_t> codes) noexcept;
  void (*decode)(std::span<const std::uint32_t> codes, const GroupParams& params, std::span<float> weights) noexcept;
  // The same of weights with params of their own: codes and what they decode to.
  void (*round_each)(std::span<const float> weights, std::span<const GroupParams> params,
                     std::span<std::uint32_t> codes, std::span<float> values) noexcept;
  // ErrorOf, SearchParams and ImproveParams of search.h, Refit of refit.h.
  double (*error)(std::span<const float> weights, std::span<const float> importance, const GroupParams& params,
                  double limit) noexcept;
  GroupParams (*search)(std::span<const float> weights, std::span<const float> importance) noexcept;
  GroupParams (*improve)(std::span<const float> weights, std::span<const float> importance,
                         const GroupParams& params) noexcept;
  GroupParams (*refit)(const RefitSums& sums, const GroupParams& params) noexcept;
  // RoundRowByGptq of round_row.h and ImproveRow of descend_row.h; null where the format has no groups.
  void (*round_row)(const RowToRound& row) noexcept;
  bool (*improve_row)(const RowToImprove& row) noexcept;
};

// Whether weights share scales, in groups.
constexpr bool HasGroups(const FormatInfo& info) { return info.group > 0; }

constexpr bool HasBias(const FormatInfo& info) { return info.bias_bits > 0; }

// Whether rows of this length can be stored; otherwise `fallback` says in which format.
constexpr bool FitsRows(const FormatInfo& info, std::size_t cols) {
  return info.fallback.empty() || cols % static_cast<std::size_t>(info.block) == 0;
}

constexpr std::size_t GroupsPerRow(const FormatInfo& info, std::size_t cols) {
  return info.group == 0 ? 0 : (cols + static_cast<std::size_t>(info.group) - 1) / static_cast<std::size_t>(info.group);
}

}  // namespace marlin
