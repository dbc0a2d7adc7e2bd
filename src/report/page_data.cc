#include "report/page_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "report/comparisons.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/row_programs.h"
#include "report/table.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

using Node = nlohmann::ordered_json;

// Six digits.
Node Number(double x) {
  if (!std::isfinite(x)) return nullptr;
  return std::strtod(fmt::format("{:.6g}", x).c_str(), nullptr);
}

Node Number(const std::optional<double>& x) { return x ? Number(*x) : Node(nullptr); }

Node Estimate(double mean, const std::optional<Interval>& x) {
  return Node::array({Number(mean), x ? Number(x->low) : Node(nullptr), x ? Number(x->high) : Node(nullptr)});
}

Node SpeedNode(const std::optional<Speed>& x) {
  if (!x) return nullptr;
  return Node::array({Number(x->tok_s), Number(x->p5_tok_s), Number(x->p95_tok_s), x->unstable()});
}

class PageDataWriter {
 public:
  explicit PageDataWriter(const Analysis& analysis) {
    for (const ModelResults& model : analysis.models) {
      models_.push_back(OneLine(model.name));
      for (const ResultGroup& group : model.groups) groups_.push_back(Group(group));
    }
  }

  std::string Text() {
    const Node all = {
        {"models", std::move(models_)}, {"commands", std::move(commands_)}, {"groups", std::move(groups_)}};
    std::string text;
    for (const char c : all.dump(-1, ' ', false, Node::error_handler_t::replace)) {
      text += c == '<' ? std::string("\\u003c") : std::string(1, c);
    }
    return text;
  }

 private:
  Node Group(const ResultGroup& group) {
    Node rows = Node::array();
    for (const ResultRow& row : group.rows) rows.push_back(Row(group, row));
    const Record* const floor = group.noise_floor();
    return {{"model", models_.size() - 1},
            {"text", group.perplexity() == nullptr ? "" : OneLine(DescribeText(*group.perplexity()))},
            {"kl", group.order == RankOrder::kDivergence},
            {"floor", floor == nullptr ? Node(nullptr) : Number(KlOf(*floor->noise_floor))},
            {"rows", std::move(rows)},
            {"timings", Timings(group)},
            {"mixed", Mixed(group)},
            {"calibration", Calibration(group)},
            {"plans", Plans(group)}};
  }

  Node Row(const ResultGroup& group, const ResultRow& row) {
    const Record& record = row.record();
    std::vector<std::string> records = {ShortHash(record.id)};
    for (const RowTiming& timing : row.timings) records.push_back(ShortHash(timing.record().id));
    return {{"records", records},
            {"name", OneLine(row.name + MarksOf(record))},
            {"config", OneLine(ConfigName(record))},
            {"type", OneLine(record.config.label)},
            {"method", OneLine(record.config.method)},
            {"runs", ProgramsOf(group, row)},
            {"baseline", row.is_baseline()},
            {"imported", record.config.kind == record::Kind::kImported},
            {"best", row.best},
            {"rank", row.rank ? Node(*row.rank) : Node(nullptr)},
            {"tied", row.tied},
            {"few", row.few()},
            {"indistinguishable", row.indistinguishable},
            {"kl", row.kl ? Estimate(row.kl->mean, row.kl->mean_95) : Node(nullptr)},
            {"ppl", row.delta ? Estimate(row.delta->percent, row.delta->percent_95) : Node(nullptr)},
            {"bits", Number(BitsPerWeight(record.size))},
            {"ratio", Number(Compression(record.size))},
            {"bytes", record.size.model_bytes},
            {"command", Command(record.command)}};
  }

  // Its index; the same command is written once.
  std::size_t Command(const std::string& command) {
    const auto [found, is_new] = command_indices_.emplace(command, commands_.size());
    if (is_new) commands_.push_back(OneLine(command));
    return found->second;
  }

  static std::size_t IndexOf(const ResultGroup& group, const ResultRow* row) {
    return static_cast<std::size_t>(row - group.rows.data());
  }

  static Node Timings(const ResultGroup& group) {
    Node all = Node::array();
    const TimingColumns timings(group.rows, &ResultRow::timings);
    for (std::size_t i = 0; i < timings.size(); ++i) {
      Node rows = Node::array();
      for (const TimedRow& timed : timings.RowsIn(i, AddressesOf(group.rows))) {
        rows.push_back({IndexOf(group, timed.row), SpeedNode(timed.timing->prefill), SpeedNode(timed.timing->decode)});
      }
      all.push_back({{"label", OneLine(timings.both_labels(i))},
                     {"about", OneLine(timings.Describe(i))},
                     {"rows", std::move(rows)}});
    }
    return all;
  }

  static Node Mixed(const ResultGroup& group) {
    Node all = Node::array();
    for (const MixedPair& pair : MixedPairs(group)) {
      const double bits = 8.0 * static_cast<double>(pair.budget_bytes) /
                          static_cast<double>(pair.mixed->record().size.quantized_parameters);
      all.push_back({{"bits", Number(bits)},
                     {"uniform", pair.uniform == nullptr ? Node(nullptr) : Node(IndexOf(group, pair.uniform))},
                     {"mixed", IndexOf(group, pair.mixed)}});
    }
    return all;
  }

  static Node Calibration(const ResultGroup& group) {
    Node all = Node::array();
    for (const CalibratedRows& entry : CollectCalibrated(group)) {
      if (entry.texts.size() < 2) continue;
      Node rows = Node::array();
      for (const auto& [title, row] : entry.texts) rows.push_back({OneLine(title), IndexOf(group, row)});
      all.push_back({{"name", OneLine(entry.config + " " + entry.method)}, {"rows", std::move(rows)}});
    }
    return all;
  }

  static Node Plans(const ResultGroup& group) {
    Node all = Node::array();
    for (const ResultRow* const row : DistinctPlans(group)) {
      const record::Plan& plan = *row->record().plan;
      std::vector<std::string> units;
      Node cells = Node::array();
      for (const record::PlanUnit& unit : plan.units) {
        auto found = std::ranges::find(units, OneLine(unit.name));
        if (found == units.end()) found = units.insert(units.end(), OneLine(unit.name));
        cells.push_back({unit.layer, found - units.begin(), Number(unit.probe_kl), OneLine(unit.format)});
      }
      all.push_back({{"row", IndexOf(group, row)},
                     {"about", OneLine(fmt::format("KL when this unit alone is {} by {}, on {}", plan.probe,
                                                   plan.method, plan.text.name))},
                     {"units", units},
                     {"cells", std::move(cells)}});
    }
    return all;
  }

  Node models_ = Node::array();
  Node commands_ = Node::array();
  Node groups_ = Node::array();
  std::map<std::string, std::size_t> command_indices_;
};

}  // namespace

std::string PageData(const Analysis& analysis) { return PageDataWriter(analysis).Text(); }

}  // namespace marlin
