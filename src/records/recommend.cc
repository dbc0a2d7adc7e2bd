#include "records/recommend.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "records/keys.h"
#include "records/ranking.h"

namespace marlin {
namespace {

std::uint64_t ContextOf(const RecommendLimits& limits, const std::optional<record::Session>& session) {
  if (limits.context) return *limits.context;
  return session ? std::min(kUsualContext, session->max_context) : record::kPeakPositions;
}

Status CheckContext(const std::string& model, const RecommendLimits& limits,
                    const std::optional<record::Session>& session) {
  if (!limits.context || !session || *limits.context <= session->max_context) return {};
  return Error{ErrorCode::kUsage, fmt::format("a context of {} tokens exceeds the {} that {} was trained for; ask for "
                                              "a shorter --context",
                                              *limits.context, session->max_context, model)};
}

RowMemory MemoryOf(std::uint64_t tensor_bytes, std::optional<std::uint64_t> peak, std::uint64_t context,
                   const std::optional<record::Session>& session) {
  RowMemory memory;
  memory.tensor_bytes = tensor_bytes;
  if (session) {
    memory.cache_bytes = context * session->cache_bytes_per_position;
    memory.work_bytes = context * session->work_bytes_per_position;
  }
  if (peak && context <= record::kPeakPositions) {
    memory.basis = MemoryBasis::kMeasured;
    memory.bytes = *peak;
  } else if (session) {
    const std::uint64_t bytes = session->cache_bytes_per_position + session->work_bytes_per_position;
    memory.basis = peak ? MemoryBasis::kExtended : MemoryBasis::kComputed;
    memory.bytes = peak ? *peak + (context - record::kPeakPositions) * bytes : tensor_bytes + context * bytes;
  }
  return memory;
}

bool IsForeign(const JudgedRow& row) {
  return row.row != nullptr && row.row->record().config.kind == record::Kind::kImported;
}

// The program itself and its passing needs took less than this, or than a tenth of the tensors, in every measurement.
bool IsSmallMargin(std::uint64_t bytes, std::uint64_t limit) {
  constexpr std::uint64_t kProgramBytes = 50'000'000;
  return limit - bytes < std::max(kProgramBytes, bytes / 10);
}

void JudgeMemory(const RecommendLimits& limits, JudgedRow& row) {
  if (!limits.memory_bytes) return;
  if (!row.memory.bytes) {
    row.obstacles.push_back(Obstacle::kMemoryUnknown);
  } else if (*row.memory.bytes > *limits.memory_bytes) {
    row.obstacles.push_back(Obstacle::kMemory);
  } else if (row.memory.basis == MemoryBasis::kComputed && IsSmallMargin(*row.memory.bytes, *limits.memory_bytes)) {
    row.doubts.push_back(Doubt::kComputed);
  }
}

// One limit on a mean, with what to note where it is broken, not measured, or satisfied by chance.
struct LossRule {
  Obstacle broken;
  Obstacle unknown;
  Doubt interval;
};

void JudgeLoss(std::optional<double> limit, std::optional<double> mean, const std::optional<Interval>& interval,
               const LossRule& rule, JudgedRow& row) {
  if (!limit) return;
  if (!mean || *mean > *limit) {
    row.obstacles.push_back(mean ? rule.broken : rule.unknown);
    return;
  }
  if (row.baseline || row.row == nullptr) return;
  if (!interval) row.doubts.push_back(Doubt::kNoInterval);
  if (interval && interval->high > *limit) row.doubts.push_back(rule.interval);
}

// This program does not keep another program's file as it is stored.
RowMemory MemoryOfRow(const JudgedRow& judged, std::uint64_t context, const std::optional<record::Session>& session) {
  const ResultRow& row = *judged.row;
  if (IsForeign(judged)) return MemoryOf(judged.tensor_bytes, std::nullopt, context, std::nullopt);
  const auto peak = row.memory != nullptr ? PeakDecodeBytes(row.memory->record) : std::nullopt;
  return MemoryOf(judged.tensor_bytes, peak, context, session);
}

void JudgeSpeed(const RecommendLimits& limits, std::uint64_t context, JudgedRow& row) {
  if (!limits.min_decode_tok_s) return;
  if (!row.decode_tok_s || *row.decode_tok_s < *limits.min_decode_tok_s) {
    row.obstacles.push_back(row.decode_tok_s ? Obstacle::kSpeed : Obstacle::kSpeedUnknown);
    return;
  }
  const RowTiming& timing = *row.row->timing();
  if (timing.decode->unstable()) row.doubts.push_back(Doubt::kUnstable);
  if (context > timing.setting.decode_prompt + 1) row.doubts.push_back(Doubt::kShortPrompt);
}

void Judge(const RecommendLimits& limits, std::uint64_t context, JudgedRow& row) {
  const bool foreign = IsForeign(row);
  if (foreign && (limits.memory_bytes || limits.min_decode_tok_s)) row.obstacles.push_back(Obstacle::kForeign);
  if (!foreign) JudgeMemory(limits, row);
  JudgeLoss(limits.max_kl, row.kl ? std::optional(row.kl->mean) : std::nullopt, row.kl ? row.kl->mean_95 : std::nullopt,
            {Obstacle::kKl, Obstacle::kKlUnknown, Doubt::kKlInterval}, row);
  JudgeLoss(limits.max_delta_percent, row.delta ? std::optional(row.delta->percent) : std::nullopt,
            row.delta ? row.delta->percent_95 : std::nullopt,
            {Obstacle::kDelta, Obstacle::kDeltaUnknown, Doubt::kDeltaInterval}, row);
  if (!foreign) JudgeSpeed(limits, context, row);
  if (row.row != nullptr && row.row->few() && !row.baseline) row.doubts.push_back(Doubt::kFew);
  if (row.row == nullptr && !row.baseline) row.doubts.push_back(Doubt::kEstimate);
  row.satisfies = row.obstacles.empty();
  if (!row.satisfies) row.doubts.clear();
}

// Rows by their places, and the order in which they compete.
class Choosing {
 public:
  Choosing(const RecommendLimits& limits, Recommendation& answer)
      : machine_limited_(limits.memory_bytes || limits.min_decode_tok_s), answer_(answer) {}

  void Choose() {
    answer_.recommended = Best({});
    if (!answer_.recommended) return;
    answer_.runner_up = Best(answer_.recommended);
    for (std::size_t i = 0; i < answer_.rows.size(); ++i) {
      if (i != *answer_.recommended && answer_.rows[i].satisfies) answer_.rows[i].obstacles = {WhyNot(i)};
    }
  }

 private:
  std::vector<std::size_t> Places(std::optional<std::size_t> without, auto&& wanted) const {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < answer_.rows.size(); ++i) {
      if (i != without && answer_.rows[i].satisfies && wanted(answer_.rows[i])) places.push_back(i);
    }
    return places;
  }

  static bool IsSmall(const JudgedRow& row) { return row.quantized_compression.value_or(0) >= kBestCompression; }

  std::vector<std::size_t> Candidates(std::optional<std::size_t> without) const {
    const auto any = [](const JudgedRow&) { return true; };
    if (machine_limited_) return Places(without, any);
    if (auto small = Places(without, IsSmall); !small.empty()) return small;
    if (auto made = Places(without, [](const JudgedRow& row) { return !row.baseline; }); !made.empty()) return made;
    return Places(without, any);
  }

  std::optional<std::size_t> Best(std::optional<std::size_t> without) const {
    const std::vector<std::size_t> places = Candidates(without);
    if (places.empty()) return std::nullopt;
    const auto& rows = answer_.rows;
    if (answer_.estimate) return *std::ranges::min_element(places, {}, [&](std::size_t i) { return rows[i].kl->mean; });
    std::vector<const ResultRow*> candidates;
    for (const std::size_t i : places) candidates.push_back(rows[i].row);
    const ResultRow* const best = BestOf(candidates, answer_.order);
    return *std::ranges::find(places, best, [&](std::size_t i) { return rows[i].row; });
  }

  double Loss(std::size_t place) const {
    const JudgedRow& row = answer_.rows[place];
    return answer_.order == RankOrder::kDivergence ? row.kl->mean : row.delta->percent;
  }

  Obstacle WhyNot(std::size_t place) const {
    const std::size_t best = *answer_.recommended;
    const JudgedRow& row = answer_.rows[place];
    if (!machine_limited_ && IsSmall(answer_.rows[best]) && !IsSmall(row)) return Obstacle::kNotSmall;
    // A smaller row that is tied with the least loss is recommended instead of it.
    if (Loss(place) < Loss(best)) return row.baseline && !machine_limited_ ? Obstacle::kNotSmall : Obstacle::kTied;
    if (answer_.estimate) return Obstacle::kLosesMore;
    return ToldApart(*answer_.rows[best].row, *row.row, answer_.order) ? Obstacle::kLosesMore : Obstacle::kTied;
  }

  bool machine_limited_;
  Recommendation& answer_;
};

// The place of the row with the least of `figure`, which may be missing.
std::optional<std::size_t> Least(std::span<const JudgedRow> rows, auto&& figure) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::optional<double> x = figure(rows[i]);
    if (x && (!found || *x < *figure(rows[*found]))) found = i;
  }
  return found;
}

void FindLeast(const RecommendLimits& limits, Recommendation& answer) {
  const auto bytes = [](const JudgedRow& row) {
    return row.memory.bytes ? std::optional(static_cast<double>(*row.memory.bytes)) : std::nullopt;
  };
  const auto loss = [&](const JudgedRow& row) -> std::optional<double> {
    const bool other_text = std::ranges::find(row.obstacles, Obstacle::kOtherText) != row.obstacles.end();
    if (row.baseline || other_text) return std::nullopt;
    const bool by_kl = limits.max_kl || (!limits.max_delta_percent && answer.order == RankOrder::kDivergence);
    if (by_kl) return row.kl ? std::optional(row.kl->mean) : std::nullopt;
    return row.delta ? std::optional(row.delta->percent) : std::nullopt;
  };
  answer.least_memory = Least(answer.rows, bytes);
  answer.least_loss = Least(answer.rows, loss);
  answer.least_loss_in_memory = Least(answer.rows, [&](const JudgedRow& row) -> std::optional<double> {
    const bool fits = limits.memory_bytes && row.memory.bytes && *row.memory.bytes <= *limits.memory_bytes;
    return fits ? loss(row) : std::nullopt;
  });
  answer.fastest = Least(answer.rows, [](const JudgedRow& row) {
    return row.decode_tok_s ? std::optional(-*row.decode_tok_s) : std::nullopt;
  });
}

// Of the first record that knows it: it belongs to the model, not to a row.
std::optional<record::Session> SessionOf(const ModelResults& model) {
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      if (row.record().session) return row.record().session;
      for (const RowTiming& timing : row.timings) {
        if (timing.record().session) return timing.record().session;
      }
      if (row.memory != nullptr && row.memory->record.session) return row.memory->record.session;
    }
  }
  return std::nullopt;
}

JudgedRow Describe(const ResultRow& row) {
  JudgedRow judged;
  const record::Size& size = row.record().size;
  judged.row = &row;
  judged.name = row.name;
  judged.config = row.record().config.id;
  judged.baseline = row.is_baseline();
  judged.tensor_bytes = size.model_bytes;
  judged.quantized_compression = QuantizedCompression(size);
  judged.kl = judged.baseline ? std::optional(MeanEstimate{}) : row.kl;
  judged.delta = judged.baseline ? std::optional(PairedDelta{}) : row.delta;
  if (const RowTiming* timing = row.timing(); timing != nullptr && timing->decode) {
    judged.decode_tok_s = timing->decode->tok_s;
  }
  return judged;
}

}  // namespace

bool IsUnknown(Obstacle obstacle) {
  constexpr Obstacle kUnknown[] = {Obstacle::kMemoryUnknown, Obstacle::kKlUnknown, Obstacle::kDeltaUnknown,
                                   Obstacle::kSpeedUnknown,  Obstacle::kOtherText, Obstacle::kQualityUnknown};
  return std::ranges::find(kUnknown, obstacle) != std::end(kUnknown);
}

bool Recommendation::undecided() const {
  return !recommended &&
         std::ranges::any_of(rows, [](const JudgedRow& row) { return std::ranges::all_of(row.obstacles, IsUnknown); });
}

Result<Recommendation> Recommend(const ModelResults& model, const RecommendLimits& limits,
                                 const std::optional<record::Session>& session) {
  const std::optional<record::Session> known = session ? session : SessionOf(model);
  if (auto status = CheckContext(model.name, limits, known); !status) return status.error();
  Recommendation answer;
  answer.model = model.name;
  answer.context = ContextOf(limits, known);
  answer.group = &model.groups.front();
  answer.order = answer.group->order;
  std::set<std::string> shown;
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      if (!shown.insert(RowIdentity(row.record())).second) continue;
      JudgedRow judged = Describe(row);
      judged.memory = MemoryOfRow(judged, answer.context, known);
      if (!row.record().perplexity) {
        judged.obstacles.push_back(Obstacle::kQualityUnknown);
      } else if (&group != answer.group) {
        judged.obstacles.push_back(Obstacle::kOtherText);
      } else if (PlaceOf(row, answer.order) == 2) {
        judged.obstacles.push_back(Obstacle::kQualityUnknown);
      }
      Judge(limits, answer.context, judged);
      answer.rows.push_back(std::move(judged));
    }
  }
  Choosing(limits, answer).Choose();
  FindLeast(limits, answer);
  return answer;
}

Result<Recommendation> RecommendEstimated(const std::string& model, const std::vector<EstimatedRow>& rows,
                                          const RecommendLimits& limits, const record::Session& session) {
  if (auto status = CheckContext(model, limits, session); !status) return status.error();
  Recommendation answer;
  answer.model = model;
  answer.estimate = true;
  answer.context = ContextOf(limits, session);
  for (const EstimatedRow& row : rows) {
    JudgedRow judged;
    judged.name = judged.config = row.config;
    judged.baseline = !row.quantized_compression;
    judged.tensor_bytes = row.tensor_bytes;
    judged.quantized_compression = row.quantized_compression;
    judged.kl = MeanEstimate{row.kl, std::nullopt};
    if (judged.baseline) judged.delta = PairedDelta{};
    judged.memory = MemoryOf(row.tensor_bytes, std::nullopt, answer.context, session);
    Judge(limits, answer.context, judged);
    answer.rows.push_back(std::move(judged));
  }
  Choosing(limits, answer).Choose();
  FindLeast(limits, answer);
  return answer;
}

}  // namespace marlin
