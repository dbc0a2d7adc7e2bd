#include "model/same_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "model/description.h"

namespace marlin {
namespace {

constexpr double kFp32Rounding = 1e-6;
constexpr double kDivisorRounding = 1e-4;

struct Setting {
  std::string name;
  std::variant<double, std::string> value;
  double tolerance = 0;  // relative
};

std::string TextOf(const Setting* setting) {
  if (setting == nullptr) return "none";
  if (const auto* number = std::get_if<double>(&setting->value)) return fmt::format("{}", *number);
  return std::get<std::string>(setting->value);
}

bool SameSetting(const Setting& a, const Setting& b) {
  const auto* x = std::get_if<double>(&a.value);
  const auto* y = std::get_if<double>(&b.value);
  if (x == nullptr || y == nullptr) return a.value == b.value;
  return std::abs(*x - *y) <= a.tolerance * std::max(std::abs(*x), std::abs(*y));
}

// Collects the settings of a model in an order that only depends on its form.
class Settings {
 public:
  explicit Settings(const Description& description) : description_(description) {
    AddAround();
    for (std::size_t i = 0; i < description.blocks.size(); ++i) {
      prefix_ = fmt::format("block {}: ", i);
      AddBlock(description.blocks[i]);
    }
  }
  const std::vector<Setting>& all() const { return all_; }

 private:
  void Count(const std::string& name, std::size_t value) { Number(name, static_cast<double>(value), 0); }
  void Number(const std::string& name, double value, double tolerance = kFp32Rounding) {
    all_.push_back({prefix_ + name, value, tolerance});
  }
  void Flag(const std::string& name, bool value) { all_.push_back({prefix_ + name, value ? "yes" : "no"}); }

  void AddNorm(const Parts& parts, const std::string& name, std::optional<std::size_t> index) {
    Flag(name + " is there", index.has_value());
    if (!index) return;
    const Norm& norm = parts.norms[*index];
    Count(name + " kind", static_cast<std::size_t>(norm.kind));
    Number(name + " epsilon", static_cast<double>(norm.eps));
    Count(name + " size", norm.weight ? parts.vectors[*norm.weight].size : 0);
    Flag(name + " bias", norm.bias.has_value());
  }

  void AddMatrix(const Matrix& matrix) {
    Count(matrix.name + " rows", matrix.rows);
    Count(matrix.name + " columns", matrix.cols);
    Flag(matrix.name + " bias", matrix.bias.has_value());
  }

  void AddFrequencies(const std::string& name, const std::vector<float>& frequencies) {
    Count(name + " count", frequencies.size());
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      Number(fmt::format("{} of pair {}", name, i), static_cast<double>(frequencies[i]), kDivisorRounding);
    }
  }

  void AddRope(const Rope& rope) {
    const RopeScaling& scaling = rope.scaling;
    Count("rotary dimensions", rope.dims);
    Flag("rotary pairs of neighbours", rope.neighbours);
    Number("rotary magnitude", static_cast<double>(scaling.magnitude));
    Number("growth of queries", static_cast<double>(scaling.query_growth));
    if (scaling.query_growth != 0) Count("context of growing queries", scaling.query_context);
    AddFrequencies("rotary frequency", scaling.frequencies);
    AddFrequencies("rotary frequency in long texts", scaling.long_frequencies);
    if (!scaling.long_frequencies.empty()) Count("context of short texts", scaling.short_context);
  }

  void AddAttention(const Block& block, const Attention& attention) {
    Count("heads", attention.heads);
    Count("heads of keys and values", attention.kv_heads);
    Count("dimensions of a head", attention.head_dim);
    Number("scale of attention", static_cast<double>(attention.scale));
    Number("cap of attention", static_cast<double>(attention.softcap));
    const std::size_t window = attention.window.value_or(0);
    Count("attention window (0: none)", window >= description_.max_context ? 0 : window);
    Count("cache", attention.cache);
    Flag("values of their own", attention.v.has_value());
    AddNorm(block, "norm of queries", attention.q_norm);
    AddNorm(block, "norm of keys", attention.k_norm);
    AddNorm(block, "norm of values", attention.v_norm);
    Flag("rotary positions", attention.rope.has_value());
    if (attention.rope) AddRope(description_.ropes[*attention.rope]);
  }

  void AddBlock(const Block& block) {
    for (const Matrix& matrix : block.matrices) AddMatrix(matrix);
    AddNorm(block, "norm before attention", block.mixer_norm);
    AddNorm(block, "norm before the feed-forward part", block.feed_forward_norm);
    AddNorm(block, "norm after attention", block.after_mixer);
    AddNorm(block, "norm after the feed-forward part", block.after_feed_forward);
    Number("scale of what is added", static_cast<double>(block.added_scale));
    Flag("parallel parts", block.parallel);
    Flag("token input", block.token_input.has_value());
    Flag("scalar", block.scalar.has_value());
    if (const auto* attention = std::get_if<Attention>(&block.mixer)) AddAttention(block, *attention);
    if (const auto* part = std::get_if<FeedForward>(&block.feed_forward)) {
      Count("activation", static_cast<std::size_t>(part->activation));
      Flag("gate", part->gate.has_value());
    }
  }

  void AddAround() {
    const Description& d = description_;
    Count("blocks", d.blocks.size());
    Count("vocabulary", d.vocab_size);
    Count("hidden size", d.hidden_size);
    Count("context", d.max_context);
    Number("scale of the embedding", static_cast<double>(d.embedding_scale));
    Number("scale of logits", static_cast<double>(d.logit_scale));
    Number("cap of logits", static_cast<double>(d.logit_softcap));
    Flag("head tied to the embedding", d.tied_head());
    Flag("learned positions", d.positions.has_value());
    for (const Matrix& matrix : d.matrices) AddMatrix(matrix);
    AddNorm(d, "last norm", d.final_norm);
  }

  const Description& description_;
  std::string prefix_;
  std::vector<Setting> all_;
};

}  // namespace

std::optional<DescriptionDifference> FirstDifference(const Description& first, const Description& second) {
  const Settings a(first), b(second);
  const std::size_t count = std::max(a.all().size(), b.all().size());
  for (std::size_t i = 0; i < count; ++i) {
    const Setting* const x = i < a.all().size() ? &a.all()[i] : nullptr;
    const Setting* const y = i < b.all().size() ? &b.all()[i] : nullptr;
    if (x != nullptr && y != nullptr && x->name == y->name && SameSetting(*x, *y)) continue;
    const bool same_name = x != nullptr && y != nullptr && x->name == y->name;
    return DescriptionDifference{x != nullptr ? x->name : y->name, TextOf(x), same_name ? TextOf(y) : "none"};
  }
  return {};
}

}  // namespace marlin
