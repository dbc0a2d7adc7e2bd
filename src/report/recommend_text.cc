#include "report/recommend_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "records/derive.h"
#include "report/figures.h"
#include "report/json_values.h"
#include "report/page_sections.h"
#include "report/table.h"

namespace marlin {
namespace {

using Json = nlohmann::ordered_json;

std::string SizeText(std::uint64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{:.0f} kB", static_cast<double>(bytes) / 1e3);
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9)
                                : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string KlNumber(double nats) { return nats == 0 ? "0" : fmt::format("{:#.4g}", nats); }

std::string KlText(const MeanEstimate& kl) {
  if (!kl.mean_95) return "KL " + KlNumber(kl.mean);
  return fmt::format("KL {} [{}, {}]", KlNumber(kl.mean), KlNumber(kl.mean_95->low), KlNumber(kl.mean_95->high));
}

// What the rows are ordered by.
std::string LossText(const JudgedRow& row, RankOrder order) {
  if (order == RankOrder::kDivergence) return row.kl ? "KL " + KlNumber(row.kl->mean) : "KL not measured";
  return row.delta ? fmt::format("perplexity {} %", FigurePercent(row.delta->percent)) : "perplexity not measured";
}

std::string NameOf(const JudgedRow& row) {
  return OneLine(row.name) + (row.row == nullptr ? "" : MarksOf(row.row->record()));
}

// One answer with its limits: the sentences of a row need both.
class Writer {
 public:
  Writer(const Advice& advice, const RecommendLimits& limits)
      : advice_(advice), answer_(advice.answer), limits_(limits) {}

  std::string Write() {
    Head();
    if (answer_.recommended) {
      Recommended(answer_.rows[*answer_.recommended]);
    } else {
      Infeasible();
    }
    Others();
    Foot();
    return std::move(out_);
  }

  std::string ObstacleText(const JudgedRow& row, Obstacle obstacle) const {
    switch (obstacle) {
      case Obstacle::kMemory:
        return fmt::format("too big by {}: needs {}", SizeText(*row.memory.bytes - *limits_.memory_bytes),
                           SizeText(*row.memory.bytes));
      case Obstacle::kMemoryUnknown:
        return fmt::format("memory with {} is not known", CountedTokens(answer_.context));
      case Obstacle::kKl:
        return fmt::format("loses too much: KL {} is above {}", KlNumber(row.kl->mean),
                           fmt::format("{:g}", *limits_.max_kl));
      case Obstacle::kKlUnknown:
        return "KL not measured";
      case Obstacle::kDelta:
        return fmt::format("loses too much: perplexity {} % is above {:+.4g} %", FigurePercent(row.delta->percent),
                           *limits_.max_delta_percent);
      case Obstacle::kDeltaUnknown:
        return "perplexity delta not measured";
      case Obstacle::kSpeed:
        return fmt::format("too slow: {} tok/s", FigureThreeDigits(*row.decode_tok_s));
      case Obstacle::kSpeedUnknown:
        return "speed not measured";
      case Obstacle::kForeign:
        return "another program's file: its memory and speed are not known here";
      case Obstacle::kOtherText:
        return "measured on another text or other windows, so not comparable";
      case Obstacle::kQualityUnknown:
        return "quality not measured";
      case Obstacle::kNotSmall:
        return row.baseline ? fmt::format("not quantized: {} of tensors", SizeText(row.tensor_bytes))
                            : fmt::format("quantized tensors only {:.2f}x smaller, less than 3x",
                                          row.quantized_compression.value_or(1));
      case Obstacle::kTied:
        return TiedText(row);
      case Obstacle::kLosesMore:
        return fmt::format("loses more: {}", LossText(row, answer_.order));
    }
    return {};
  }

  std::string DoubtText(const JudgedRow& row, Doubt doubt) const {
    switch (doubt) {
      case Doubt::kKlInterval:
        return fmt::format("not certain: the 95 % interval of its KL reaches {}, the limit is {}",
                           KlNumber(row.kl->mean_95->high), fmt::format("{:g}", *limits_.max_kl));
      case Doubt::kDeltaInterval:
        return fmt::format(
            "not certain: the 95 % interval of its perplexity delta reaches {} %, the limit is {:+.4g} %",
            FigurePercent(row.delta->percent_95->high), *limits_.max_delta_percent);
      case Doubt::kNoInterval:
        return "not certain: one window was measured, which gives no interval";
      case Doubt::kFew:
        return fmt::format("not certain: fewer than {} windows were measured", kFewWindows);
      case Doubt::kUnstable:
        return "not certain: its timing was unstable";
      case Doubt::kShortPrompt:
        return fmt::format("not certain: the speed was measured with {} in the cache; with {} it may be lower",
                           CountedTokens(row.row->timing()->setting.decode_prompt), CountedTokens(answer_.context));
      case Doubt::kComputed:
        return "not certain: the memory is computed, without the program itself, and the margin is small";
      case Doubt::kEstimate:
        return "an estimate: nothing of it was measured on a whole text";
    }
    return {};
  }

  std::string MemoryText(const JudgedRow& row) const {
    const RowMemory& memory = row.memory;
    const std::string context = CountedTokens(answer_.context);
    switch (memory.basis) {
      case MemoryBasis::kUnknown:
        return fmt::format("tensors {}; with {} not known", SizeText(memory.tensor_bytes), context);
      case MemoryBasis::kMeasured:
        return fmt::format("{} with {}, measured; tensors {}", SizeText(*memory.bytes), context,
                           SizeText(memory.tensor_bytes));
      case MemoryBasis::kExtended:
        return fmt::format("{} with {}: {} measured with {} + {} for the others; tensors {}", SizeText(*memory.bytes),
                           context, SizeText(Peak(row)), record::kPeakPositions, SizeText(*memory.bytes - Peak(row)),
                           SizeText(memory.tensor_bytes));
      case MemoryBasis::kComputed:
        return fmt::format("{} with {}, computed: tensors {} + keys and values {} + work space {}",
                           SizeText(*memory.bytes), context, SizeText(memory.tensor_bytes),
                           SizeText(*memory.cache_bytes), SizeText(*memory.work_bytes));
    }
    return {};
  }

 private:
  static std::string CountedTokens(std::uint64_t count) {
    return fmt::format("{} token{}", FigureCount(count), count == 1 ? "" : "s");
  }

  static std::uint64_t Peak(const JudgedRow& row) { return *PeakDecodeBytes(row.row->memory->record); }

  void Line(const std::string& text) { out_ += text + "\n"; }
  void Figure(const char* name, const std::string& text) { Line(fmt::format("  {:<9} {}", name, text)); }

  void Commands(const char* name, const std::vector<std::string>& lines) {
    for (std::size_t i = 0; i < lines.size(); ++i) Figure(i == 0 ? name : "", lines[i]);
  }

  bool ContextMatters() const { return limits_.memory_bytes || limits_.context; }

  std::string LimitsText() const {
    std::vector<std::string> parts;
    if (limits_.memory_bytes) parts.push_back(fmt::format("memory up to {}", SizeText(*limits_.memory_bytes)));
    if (limits_.max_kl) parts.push_back(fmt::format("KL up to {:g}", *limits_.max_kl));
    if (limits_.max_delta_percent)
      parts.push_back(fmt::format("perplexity up to {:+.4g} %", *limits_.max_delta_percent));
    if (limits_.min_decode_tok_s) {
      parts.push_back(fmt::format("at least {} tok/s", FigureThreeDigits(*limits_.min_decode_tok_s)));
    }
    std::string text;
    for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
    if (text.empty()) text = "no limits";
    if (ContextMatters()) text += fmt::format("; context {}", CountedTokens(answer_.context));
    return text;
  }

  void Head() {
    Line(fmt::format("{}: {}", OneLine(answer_.model), LimitsText()));
    if (answer_.estimate) {
      Line("ESTIMATE, not a measurement. " + OneLine(advice_.basis));
      return;
    }
    const record::Perplexity* const measured = answer_.group->perplexity();
    Line(fmt::format("Measured on {}; compared by {}.",
                     measured == nullptr ? "no text" : OneLine(DescribeText(*measured)),
                     answer_.order == RankOrder::kDivergence ? "KL, nats per token" : "perplexity delta"));
  }

  std::string AllLosses(const JudgedRow& row) const {
    if (row.baseline) return "nothing: the baseline";
    std::string text = row.kl ? KlText(*row.kl) : std::string();
    if (answer_.estimate) return "about " + text + " nats per token";
    if (row.delta) text += (text.empty() ? "" : "; ") + fmt::format("perplexity {} %", FigureDelta(*row.delta));
    if (row.row->same_top) text += fmt::format("; same top-1 {} %", FigureShare(row.row->same_top));
    return text;
  }

  std::string SpeedText(const JudgedRow& row) const {
    if (!row.decode_tok_s) return "not measured";
    const RowTiming& timing = *row.row->timing();
    return fmt::format("{} tok/s decode{} ({}, after {})", FigureThreeDigits(*row.decode_tok_s),
                       timing.decode->unstable() ? ", unstable" : "", OneLine(HardwareText(timing.setting)),
                       CountedTokens(timing.setting.decode_prompt));
  }

  // Ids and files of the records that the figures come from.
  static std::vector<const StoredRecord*> Evidence(const JudgedRow& row) {
    std::vector<const StoredRecord*> evidence = {row.row->stored};
    const auto add = [&](const StoredRecord* stored) {
      if (stored != nullptr && std::ranges::find(evidence, stored) == evidence.end()) evidence.push_back(stored);
    };
    if (const RowTiming* timing = row.row->timing()) add(timing->stored);
    add(row.row->memory);
    return evidence;
  }

  void Recommended(const JudgedRow& row) {
    Line("");
    Line("Recommended: " + NameOf(row));
    Figure("loses", AllLosses(row));
    Figure("memory", MemoryText(row));
    Figure("speed", SpeedText(row));
    const std::string programs = row.baseline ? kAsTheOriginal : ProgramsText(advice_.recommended.runtimes);
    if (!programs.empty()) Figure("runs in", programs);
    for (const Doubt doubt : row.doubts) Figure("but", DoubtText(row, doubt));
    if (row.row != nullptr && row.row->record().config.same_grid_as_source) {
      Figure("but", "† its source already lies on a similar grid, which flatters it");
    }
    Commands("make it", advice_.commands);
    Commands("export", advice_.recommended.exports);
    for (const std::string& note : advice_.notes) Figure("note", OneLine(note));
    if (row.row == nullptr) return;
    std::string files;
    for (const StoredRecord* stored : Evidence(row)) {
      files += fmt::format("{}{} ({})", files.empty() ? "" : ", ", ShortHash(stored->record.id), OneLine(stored->file));
    }
    Figure("records", files);
  }

  std::string Short(std::size_t place) const {
    const JudgedRow& row = answer_.rows[place];
    return NameOf(row);
  }

  void Infeasible() {
    Line("");
    if (answer_.undecided()) {
      Line("No row is known to satisfy all limits: too little was measured. What is known:");
    } else {
      Line("No row satisfies all limits. The least that is possible:");
    }
    const auto& rows = answer_.rows;
    if (limits_.memory_bytes && answer_.least_memory) {
      const JudgedRow& least = rows[*answer_.least_memory];
      Figure("memory", fmt::format("{} with {}: {}", SizeText(*least.memory.bytes), CountedTokens(answer_.context),
                                   NameOf(least)));
    }
    if ((limits_.max_kl || limits_.max_delta_percent) && answer_.least_loss) {
      std::string text = LeastLoss(rows[*answer_.least_loss]);
      if (const auto within = answer_.least_loss_in_memory; within && within != answer_.least_loss) {
        text += fmt::format("; within {}: {}", SizeText(*limits_.memory_bytes), LeastLoss(rows[*within]));
      }
      Figure("loss", text);
    }
    if (limits_.min_decode_tok_s && answer_.fastest) {
      const JudgedRow& fastest = rows[*answer_.fastest];
      Figure("speed", fmt::format("{} tok/s: {}", FigureThreeDigits(*fastest.decode_tok_s), NameOf(fastest)));
    }
  }

  std::string LeastLoss(const JudgedRow& row) const {
    const bool by_kl = limits_.max_kl || !row.delta;
    return fmt::format("{}: {}", LossText(row, by_kl ? RankOrder::kDivergence : RankOrder::kPerplexity), NameOf(row));
  }

  std::string TiedText(const JudgedRow& row) const {
    const JudgedRow& best = answer_.rows[*answer_.recommended];
    if (row.tensor_bytes > best.tensor_bytes) {
      return fmt::format("tied: no measurable difference ({}), but larger: {}", LossText(row, answer_.order),
                         SizeText(row.tensor_bytes));
    }
    return fmt::format("tied: no measurable difference ({}); not smaller and faster", LossText(row, answer_.order));
  }

  std::string Why(const JudgedRow& row) const {
    std::string text;
    const bool settled = std::ranges::any_of(row.obstacles, [](Obstacle x) { return !IsUnknown(x); });
    for (const Obstacle obstacle : row.obstacles) {
      // What is not known makes no difference to a row that falls anyway.
      if (!settled || !IsUnknown(obstacle)) text += (text.empty() ? "" : "; ") + ObstacleText(row, obstacle);
    }
    return text;
  }

  void Others() {
    if (answer_.runner_up) {
      const JudgedRow& row = answer_.rows[*answer_.runner_up];
      const std::string memory = row.memory.bytes ? SizeText(*row.memory.bytes) + " of memory" : "memory not known";
      const std::string speed =
          row.decode_tok_s ? FigureThreeDigits(*row.decode_tok_s) + " tok/s" : "speed not measured";
      Line(fmt::format("Runner-up: {}: {}; {}, {}", NameOf(row), Why(row), memory, speed));
      const std::string programs = row.baseline ? kAsTheOriginal : ProgramsText(advice_.runner_up.runtimes);
      if (!programs.empty()) Figure("runs in", programs);
      Commands("export", advice_.runner_up.exports);
    }
    std::size_t width = 0;
    std::size_t others = 0;
    constexpr std::size_t kWidest = 60;
    for (std::size_t i = 0; i < answer_.rows.size(); ++i) {
      if (i == answer_.recommended || i == answer_.runner_up) continue;
      ++others;
      width = std::max(width, std::min(kWidest, Columns(NameOf(answer_.rows[i]))));
    }
    if (others == 0) return;
    Line(answer_.recommended ? "The other rows:" : "The rows:");
    for (std::size_t i = 0; i < answer_.rows.size(); ++i) {
      if (i == answer_.recommended || i == answer_.runner_up) continue;
      const std::string name = NameOf(answer_.rows[i]);
      const std::size_t columns = Columns(name);
      Line(fmt::format("  {}{}  {}", name, std::string(columns < width ? width - columns : 0, ' '),
                       Why(answer_.rows[i])));
    }
  }

  static std::size_t Columns(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
  }

  void Foot() {
    if (MarksNeedWords()) Line("† same grid as source, which flatters the row");
    const bool open = answer_.recommended || answer_.undecided();  // else a longer context cannot help
    if (!answer_.estimate && open && ContextMatters() && !KnowsPositions()) {
      Line(fmt::format("These records hold the memory of {} only. To compute a longer context, name the model itself:",
                       CountedTokens(record::kPeakPositions)));
      Line("  " + advice_.next);
    }
    if (answer_.estimate) Line("To measure it: " + advice_.next);
  }

  // Whether the memory of any context is known.
  bool KnowsPositions() const {
    return std::ranges::any_of(answer_.rows, [](const JudgedRow& row) { return row.memory.cache_bytes.has_value(); });
  }

  // The recommended row says it for itself.
  bool MarksNeedWords() const {
    for (std::size_t i = 0; i < answer_.rows.size(); ++i) {
      const ResultRow* const row = answer_.rows[i].row;
      if (i != answer_.recommended && row != nullptr && row->record().config.same_grid_as_source) {
        return !answer_.recommended || !answer_.rows[*answer_.recommended].row->record().config.same_grid_as_source;
      }
    }
    return false;
  }

  const Advice& advice_;
  const Recommendation& answer_;
  const RecommendLimits& limits_;
  std::string out_;
};

// Names of the reasons, in the order of Obstacle.
constexpr const char* kObstacles[] = {"memory",
                                      "memory_unknown",
                                      "kl",
                                      "kl_not_measured",
                                      "ppl_delta",
                                      "ppl_delta_not_measured",
                                      "speed",
                                      "speed_not_measured",
                                      "another_program",
                                      "other_text",
                                      "quality_not_measured",
                                      "not_small",
                                      "tied",
                                      "loses_more"};
static_assert(std::size(kObstacles) == static_cast<std::size_t>(Obstacle::kLosesMore) + 1);
constexpr const char* kBases[] = {"unknown", "measured", "measured_and_computed", "computed"};

Json MemoryJson(const RowMemory& memory) {
  return {{"bytes", OrNull(memory.bytes)},
          {"basis", kBases[static_cast<std::size_t>(memory.basis)]},
          {"tensor_bytes", memory.tensor_bytes},
          {"cache_bytes", OrNull(memory.cache_bytes)},
          {"work_bytes", OrNull(memory.work_bytes)}};
}

Json RowJson(const Writer& writer, const Recommendation& answer, std::size_t place) {
  const JudgedRow& row = answer.rows[place];
  Json json = {{"name", row.name},
               {"config", row.config},
               {"verdict", place == answer.recommended ? "recommended"
                           : place == answer.runner_up ? "runner_up"
                           : row.satisfies             ? "satisfies"
                                                       : "falls"},
               {"estimate", answer.estimate && !row.baseline},
               {"baseline", row.baseline},
               {"kl", row.kl ? Json(row.kl->mean) : Json(nullptr)},
               {"kl_95", row.kl ? IntervalOrNull(row.kl->mean_95) : Json(nullptr)},
               {"delta_percent", row.delta ? Json(row.delta->percent) : Json(nullptr)},
               {"delta_percent_95", row.delta ? IntervalOrNull(row.delta->percent_95) : Json(nullptr)},
               {"decode_tok_s", OrNull(row.decode_tok_s)},
               {"quantized_compression", OrNull(row.quantized_compression)},
               {"memory", MemoryJson(row.memory)}};
  json["reasons"] = Json::array();
  for (const Obstacle x : row.obstacles) {
    json["reasons"].push_back(
        {{"reason", kObstacles[static_cast<std::size_t>(x)]}, {"text", writer.ObstacleText(row, x)}});
  }
  json["doubts"] = Json::array();
  for (const Doubt x : row.doubts) json["doubts"].push_back(writer.DoubtText(row, x));
  json["records"] = Json::array();
  if (row.row == nullptr) return json;
  if (row.decode_tok_s) {
    const TimingSetting& setting = row.row->timing()->setting;
    json["decode_setting"] = {{"cpu", setting.cpu},
                              {"threads", setting.threads},
                              {"isa", setting.isa},
                              {"device", setting.device.empty() ? Json(nullptr) : Json(setting.device)},
                              {"prompt_tokens", setting.decode_prompt}};
  }
  json["same_grid_as_source"] = row.row->record().config.same_grid_as_source;
  const auto evidence = [](const char* of, const StoredRecord& stored) {
    return Json{{"of", of}, {"id", stored.record.id}, {"file", stored.file}};
  };
  json["records"].push_back(evidence(row.row->record().perplexity ? "quality" : "size", *row.row->stored));
  if (const RowTiming* timing = row.row->timing()) json["records"].push_back(evidence("speed", *timing->stored));
  if (row.row->memory != nullptr) json["records"].push_back(evidence("memory", *row.row->memory));
  return json;
}

// "runs_in" is null for a baseline and where nothing is known, empty where no other program runs the row.
Json FilesJson(const RowFiles& files) {
  Json json = {{"runs_in", nullptr}, {"exports", files.exports}};
  if (!files.runtimes) return json;
  json["runs_in"] = Json::array();
  for (const RowRuntime& row : *files.runtimes) json["runs_in"].push_back(row.runtime->programs);
  return json;
}

Json PlaceJson(const Recommendation& answer, std::optional<std::size_t> place) {
  return place ? Json(answer.rows[*place].name) : Json(nullptr);
}

}  // namespace

std::string RecommendText(const Advice& advice, const RecommendLimits& limits) {
  return Writer(advice, limits).Write();
}

Json RecommendJson(const Advice& advice, const RecommendLimits& limits) {
  const Recommendation& answer = advice.answer;
  const Writer writer(advice, limits);
  Json json = {{"model", answer.model},
               {"estimate", answer.estimate},
               {"context", answer.context},
               {"compared_by", answer.order == RankOrder::kDivergence ? "kl" : "perplexity_delta"},
               {"recommended", PlaceJson(answer, answer.recommended)},
               {"runner_up", PlaceJson(answer, answer.runner_up)},
               {"undecided", answer.undecided()}};
  json["limits"] = {{"memory_bytes", OrNull(limits.memory_bytes)},
                    {"max_kl", OrNull(limits.max_kl)},
                    {"max_ppl_delta_percent", OrNull(limits.max_delta_percent)},
                    {"min_decode_tok_s", OrNull(limits.min_decode_tok_s)}};
  json["least_possible"] = {{"memory", PlaceJson(answer, answer.least_memory)},
                            {"loss", PlaceJson(answer, answer.least_loss)},
                            {"loss_within_memory", PlaceJson(answer, answer.least_loss_in_memory)},
                            {"speed", PlaceJson(answer, answer.fastest)}};
  json["commands"] = advice.commands;
  json["notes"] = advice.notes;
  json["files"] = {{"recommended", FilesJson(advice.recommended)}, {"runner_up", FilesJson(advice.runner_up)}};
  if (answer.estimate) json["basis"] = advice.basis;
  if (answer.estimate) json["measure"] = advice.next;
  json["rows"] = Json::array();
  for (std::size_t i = 0; i < answer.rows.size(); ++i) json["rows"].push_back(RowJson(writer, answer, i));
  return json;
}

Status VerdictOf(const Advice& advice) {
  const Recommendation& answer = advice.answer;
  if (answer.recommended) return {};
  if (answer.undecided()) {
    return Error{ErrorCode::kInput, fmt::format("{}: no row is known to satisfy the limits, because too little was "
                                                "measured; the rows above say what is missing",
                                                OneLine(answer.model))};
  }
  return Error{ErrorCode::kThreshold,
               fmt::format("{}: no row satisfies the limits; ease one of them", OneLine(answer.model))};
}

}  // namespace marlin
