#include "report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace marlin {
namespace {

// Four digits of the largest of the numbers, `sign` "" or "+" as fmt understands it.
std::string MilliNats(const MeanEstimate& x, const char* sign) {
  constexpr double kMilli = 1e3;
  double largest = std::abs(x.mean);
  if (x.mean_95) largest = std::max({largest, std::abs(x.mean_95->low), std::abs(x.mean_95->high)});
  const double scale = largest > 0 ? std::floor(std::log10(kMilli * largest)) : 0;
  const bool tiny = scale < -4;
  const int decimals = tiny ? 2 : std::max(0, 3 - static_cast<int>(scale));
  const std::string format = fmt::format("{{:{}.{}{}}}", sign, decimals, tiny ? 'e' : 'f');
  const auto text = [&](double nats) { return fmt::format(fmt::runtime(format), kMilli * nats + 0.0); };
  if (!x.mean_95) return text(x.mean) + " (one window: no interval)";
  return fmt::format("{} [{}, {}]", text(x.mean), text(x.mean_95->low), text(x.mean_95->high));
}

// At least this many significant digits, all of those before the point.
std::string FigureDigits(double x, int digits) {
  if (x == 0 || !std::isfinite(x)) return fmt::format("{}", x);
  const int decimals = std::max(0, digits - 1 - static_cast<int>(std::floor(std::log10(std::abs(x)))));
  return decimals > digits + 3 ? fmt::format("{:.{}e}", x, digits - 1) : fmt::format("{:.{}f}", x, decimals);
}

}  // namespace

std::string FigurePerplexity(const std::optional<PerplexityEstimate>& x) {
  if (!x) return kNotMeasured;
  constexpr double kLongest = 1e7;  // larger ones are no model of the text; their digits say nothing
  if (x->perplexity >= kLongest) return fmt::format("{:.2e}", x->perplexity);
  const int decimals = x->perplexity < 100 ? 3 : x->perplexity < 1000 ? 2 : 1;
  if (!x->standard_error) return fmt::format("{:.{}f}", x->perplexity, decimals);
  return fmt::format("{:.{}f} ± {:.{}f}", x->perplexity, decimals, *x->standard_error, decimals);
}

std::string FigurePercent(double x) {
  if (std::abs(x) >= 1e7) return fmt::format("{:+.2e}", x);
  const std::string text = fmt::format("{:+.2f}", x);
  return text == "-0.00" ? "+0.00" : text;
}

std::string FigureDelta(const PairedDelta& x) {
  if (!x.percent_95) return FigurePercent(x.percent) + " (one window: no interval)";
  return fmt::format("{} [{}, {}]", FigurePercent(x.percent), FigurePercent(x.percent_95->low),
                     FigurePercent(x.percent_95->high));
}

std::string FigureDelta(const ResultRow& row) {
  if (row.is_baseline()) return "baseline";
  if (!row.delta) return fmt::format("{} ({})", kNotMeasured, row.why_no_delta);
  return FigureDelta(*row.delta) + (row.few() ? " few" : "");
}

std::string FigureKl(const MeanEstimate& x) { return MilliNats(x, ""); }

std::string FigureKl(const ResultRow& row) {
  if (row.is_baseline()) return "baseline";
  if (!row.kl) return kNotMeasured;
  return FigureKl(*row.kl) + (row.indistinguishable ? " indistinguishable" : "") +
         (row.few() && !row.delta ? " few" : "");
}

std::string FigureKlChange(const MeanEstimate& x) { return MilliNats(x, "+"); }

std::string FigureShare(const std::optional<MeanEstimate>& x) {
  return x ? fmt::format("{:.2f}", 100 * x->mean) : kNotMeasured;
}

std::string FigureSpeed(const std::optional<Speed>& x) {
  if (!x) return kNotMeasured;
  return FigureThreeDigits(x->tok_s) + (x->unstable() ? " unstable" : "");
}

std::string FigureRatio(std::optional<double> x) { return x ? fmt::format("{:.2f}x", *x) : kNotMeasured; }

std::string FigureThreeDigits(double x) { return FigureDigits(x, 3); }

std::string FigureFiveDigits(double x) { return FigureDigits(x, 5); }

std::string FigureFixed(std::optional<double> x, int decimals) {
  return x ? fmt::format("{:.{}f}", *x, decimals) : kNotMeasured;
}

std::string FigureMegabytes(std::optional<std::uint64_t> bytes) {
  return bytes ? fmt::format("{:.1f}", static_cast<double>(*bytes) / 1e6) : kNotMeasured;
}

std::string FigureBitsPerWeight(const Record& record) {
  if (const auto bits = BitsPerWeight(record.size)) return fmt::format("{:.4f}", *bits);
  return record.config.bits == 0 ? "mixed" : fmt::format("{}", record.config.bits);
}

std::string FigureGroup(const record::Config& config) {
  if (config.kind == record::Kind::kMixed) return "mixed";
  if (config.kind == record::Kind::kImported) return "its own";
  return config.group == 0 ? "none" : fmt::format("{}", config.group);
}

std::string AcceptedMark(const Record& record) { return record.model.accepted_unknown ? " ‡" : ""; }

std::string MarksOf(const Record& record) {
  return (record.config.same_grid_as_source ? " †" : "") + AcceptedMark(record);
}

std::string FigureRank(const ResultRow& row) {
  if (row.is_baseline()) return "baseline";
  return row.rank ? fmt::format("{}{}", *row.rank, row.tied ? " (tie)" : "") : "not ranked";
}

std::string FigureCount(std::uint64_t x) {
  std::string digits = fmt::format("{}", x);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string ShortHash(const std::string& hash) { return hash.substr(0, 12); }

}  // namespace marlin
