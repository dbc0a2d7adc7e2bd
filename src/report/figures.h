// Formats numbers for the page and the terminal. Only this file decides the number of digits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/statistics.h"
#include "records/analysis.h"
#include "records/derive.h"

namespace marlin {

inline constexpr const char* kNotMeasured = "not measured";
inline constexpr const char* kKlTitle = "KL mean, 1e-3 nats [95 %]";

std::string FigurePerplexity(const std::optional<PerplexityEstimate>& x);  // "17.234 ± 0.112"
std::string FigurePercent(double x);                                       // "+2.31", "-0.05"
std::string FigureDelta(const PairedDelta& x);                             // "+2.31 [+1.80, +2.85]"
std::string FigureDelta(const ResultRow& row);  // the same with "few", "baseline", or why it is not measured
// KL in 10^-3 nats per token, the interval with as many decimals as the mean: "12.34 [11.91, 12.75]".
std::string FigureKl(const MeanEstimate& x);
std::string FigureKl(const ResultRow& row);  // the same with "indistinguishable", "baseline", "not measured", "few"
                                             // unless a delta says it
std::string FigureKlChange(const MeanEstimate& x);              // a difference of two, with its sign
std::string FigureShare(const std::optional<MeanEstimate>& x);  // percent without interval: "93.10"
std::string FigureSpeed(const std::optional<Speed>& x);         // "61.3", "61.3 unstable"
std::string FigureRatio(std::optional<double> x);               // "3.48x"
std::string FigureThreeDigits(double x);  // at least three significant digits: "1234", "61.3", "0.0123"
std::string FigureFiveDigits(double x);   // of another program: "7100.0", "0.34402"
std::string FigureFixed(std::optional<double> x, int decimals);
std::string FigureMegabytes(std::optional<std::uint64_t> bytes);  // 10^6 bytes: "78.4"
std::string FigureBitsPerWeight(const Record& record);            // "4.139", "16" for a baseline
std::string FigureGroup(const record::Config& config);            // "128", "mixed", "none"
std::string AcceptedMark(const Record& record);                   // after a row's name: " ‡" --accept-unknown
std::string MarksOf(const Record& record);  // after a row's name: " †" same grid as source, " ‡" --accept-unknown
std::string FigureRank(const ResultRow& row);    // "1", "2 (tie)", "baseline", "not ranked"
std::string FigureCount(std::uint64_t x);        // "1,290,590"
std::string ShortHash(const std::string& hash);  // first 12 digits

}  // namespace marlin
