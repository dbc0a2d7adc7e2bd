// Which row of a model to use under limits of memory, loss and speed, and what stands against each other row. A pure
// function of records; docs/commands.md explains the rules. Rows of an estimate are judged in the same way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "records/analysis.h"

namespace marlin {

// The context of an answer that names none, where the memory of any context is known.
inline constexpr std::uint64_t kUsualContext = 512;

struct RecommendLimits {
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> context;     // positions; none: kUsualContext, or the one that peaks were measured with
  std::optional<double> max_kl;             // mean, nats per token
  std::optional<double> max_delta_percent;  // of the perplexity
  std::optional<double> min_decode_tok_s;
};

// Where a figure of memory comes from.
enum class MemoryBasis {
  kUnknown,   // the context is longer than the measured one, and what a position costs is not known
  kMeasured,  // peak of a process, measured
  kExtended,  // that peak, and what the further positions need
  kComputed   // tensors, keys and values, work space; the program itself is not in it
};

struct RowMemory {
  MemoryBasis basis = MemoryBasis::kUnknown;
  std::optional<std::uint64_t> bytes;                    // all together, at the context; none = unknown
  std::uint64_t tensor_bytes = 0;                        // as stored
  std::optional<std::uint64_t> cache_bytes, work_bytes;  // at the context
};

// Why a row is not the recommended one.
enum class Obstacle {
  kMemory,
  kMemoryUnknown,
  kKl,
  kKlUnknown,
  kDelta,
  kDeltaUnknown,
  kSpeed,
  kSpeedUnknown,
  kForeign,    // another program's file: this program does not run it as it is stored, so it has no memory and no speed
  kOtherText,  // measured, but on another text or other windows than most rows
  kQualityUnknown,  // nothing that the rows are ranked by
  kNotSmall,        // fits, but its quantized tensors are not kBestCompression times smaller, and others' are
  kTied,            // not told apart from the best loss, but larger, or as large and not faster
  kLosesMore
};

// Whether it says only that something about the row is not known.
bool IsUnknown(Obstacle obstacle);

// What is not certain about a row that satisfies the limits.
enum class Doubt {
  kKlInterval,     // the 95 % interval reaches beyond the limit
  kDeltaInterval,  // the same
  kNoInterval,     // one window: there is no interval
  kFew,            // fewer than kFewWindows windows
  kUnstable,       // the timing
  kShortPrompt,    // the speed was measured with a shorter context
  kComputed,       // the memory was computed and the margin is small
  kEstimate
};

struct JudgedRow {
  const ResultRow* row = nullptr;  // null: an estimate
  std::string name;
  std::string config;
  bool baseline = false;
  std::uint64_t tensor_bytes = 0;
  std::optional<double> quantized_compression;
  std::optional<MeanEstimate> kl;    // a baseline has 0
  std::optional<PairedDelta> delta;  // a baseline has 0
  std::optional<double> decode_tok_s;
  RowMemory memory;
  std::vector<Obstacle> obstacles;  // empty: recommended
  std::vector<Doubt> doubts;        // only of rows that satisfy the limits
  bool satisfies = false;           // all limits
};

struct Recommendation {
  std::string model;
  bool estimate = false;
  std::uint64_t context = 0;
  RankOrder order = RankOrder::kDivergence;
  const ResultGroup* group = nullptr;  // that the rows are judged by; null for an estimate
  std::vector<JudgedRow> rows;         // in the order of the page
  std::optional<std::size_t> recommended, runner_up;
  // The least that is possible: places in `rows`.
  std::optional<std::size_t> least_memory;
  std::optional<std::size_t> least_loss;            // of the rows that are no baseline
  std::optional<std::size_t> least_loss_in_memory;  // the same, of rows within the limit of memory
  std::optional<std::size_t> fastest;

  // Nothing is recommended, and a row falls only because something about it is not known.
  bool undecided() const;
};

// limits.context must be within session.max_context. The analysis outlives the answer.
//
// Rows satisfy a limit when their mean is at or below it. Among the rows that satisfy all limits BestOf decides. A
// limit on memory or speed says what a machine bears: then every row is a candidate, the 16-bit baseline too. Without
// such a limit the rule of the page holds: rows with kBestCompression, and only if there are none of them the other
// quantized rows, then the baseline. session: of the model, where it is at hand; else that of the records is used.
// Errors: kUsage (a context beyond the model's).
Result<Recommendation> Recommend(const ModelResults& model, const RecommendLimits& limits,
                                 const std::optional<record::Session>& session);

// A configuration whose loss was estimated.
struct EstimatedRow {
  std::string config;
  std::uint64_t tensor_bytes = 0;
  std::optional<double> quantized_compression;  // none: the baseline
  double kl = 0;
};

// The same from estimates alone: the loss with the least estimate wins, nothing is tied, and no delta and no speed is
// known. Errors: as above.
Result<Recommendation> RecommendEstimated(const std::string& model, const std::vector<EstimatedRow>& rows,
                                          const RecommendLimits& limits, const record::Session& session);

}  // namespace marlin
