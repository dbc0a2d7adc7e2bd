// The other direction of gguf_families.cc: from a model to what GGUF wants beside the tables.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "files/gguf_families.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kFullBlocks = "full_attention";

Error NotInArchitecture(const GgufConfigTarget& target, const std::string& what) {
  return {ErrorCode::kUnsupported, fmt::format("GGUF's architecture {} {}", target.architecture, what)};
}

std::vector<std::int32_t> ByBlock(const ModelFacts& facts, std::size_t ModelFacts::Block::*size) {
  std::vector<std::int32_t> sizes;
  for (const ModelFacts::Block& block : facts.blocks) sizes.push_back(static_cast<std::int32_t>(block.*size));
  return sizes;
}

// One number where all blocks have the same, else a list.
void SetByBlock(const GgufConfigTarget& target, std::string_view suffix, std::size_t ModelFacts::Block::*size) {
  std::vector<std::int32_t> sizes = ByBlock(target.facts, size);
  const bool same = std::ranges::all_of(sizes, [&](std::int32_t each) { return each == sizes[0]; });
  if (same) {
    target.Set(suffix, static_cast<std::uint32_t>(sizes[0]));
  } else {
    target.Set(suffix, std::move(sizes));
  }
}

// The size of heads in blocks with a window or without; 0 where there are no such blocks.
std::size_t HeadDim(const ModelFacts& facts, bool sliding) {
  for (const ModelFacts::Block& block : facts.blocks) {
    if ((block.window != 0) == sliding) return block.head_dim;
  }
  return 0;
}

Result<std::vector<float>> FactorList(const GgufConfigTarget& target, const json& settings, const char* key) {
  const auto found = settings.find(key);
  const bool is_list = found != settings.end() && found->is_array() &&
                       std::ranges::all_of(*found, [](const json& factor) { return factor.is_number(); });
  if (!is_list) return NotInArchitecture(target, fmt::format("wants the list \"{}\" of numbers for LongRoPE", key));
  return found->get<std::vector<float>>();
}

}  // namespace

void GgufConfigTarget::Set(std::string_view suffix, GgufNewValue value) const {
  pairs.Set(fmt::format("{}.{}", architecture, suffix), std::move(value));
}

void GgufConfigTarget::SetWindowPattern() const {
  GgufFlags flags;
  for (const ModelFacts::Block& block : facts.blocks) flags.values.push_back(block.window != 0 ? 1 : 0);
  Set("attention.sliding_window_pattern", std::move(flags));
}

double NumberOf(const json& object, const char* key, double otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

json RopeSettings(const json& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_object() || found->empty()) continue;
    const auto full = found->find(kFullBlocks);
    if (full != found->end()) return full->is_object() ? *full : json::object();
    if (std::ranges::none_of(*found, [](const json& value) { return value.is_object(); })) return *found;
  }
  return json::object();
}

Status WriteWithoutWindows(const GgufConfigTarget& target) {
  const auto window = target.config.find("sliding_window");
  if (window == target.config.end()) return {};
  return NotInArchitecture(target,
                           fmt::format("has no attention windows, and this model has one of {} tokens; up to that many "
                                       "tokens it computes the same without: a copy of the model whose config.json has "
                                       "\"sliding_window\": null and \"max_position_embeddings\": {} can be exported",
                                       window->dump(), window->dump()));
}

Status WriteMinistral3(const GgufConfigTarget& target) {
  if (auto status = WriteWithoutWindows(target); !status) return status;
  const json settings = RopeSettings(target.config);
  const double of_all = NumberOf(settings, "mscale_all_dim", 0);
  if (of_all != 0 && NumberOf(settings, "mscale", 0) == 1) {
    target.Set("rope.scaling.yarn_log_multiplier", static_cast<float>(of_all));
  }
  const double growth = NumberOf(settings, "llama_4_scaling_beta", 0);
  if (growth != 0) target.Set("attention.temperature_scale", static_cast<float>(growth));
  return {};
}

Status WriteGemma2(const GgufConfigTarget& target) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (NumberOf(target.config, key, 0) > 0) continue;
    return NotInArchitecture(target, fmt::format("divides by \"{}\", and this model has none", key));
  }
  target.SetWindowPattern();
  return {};
}

// Blocks with and without windows, and the base of the rotary positions in those with.
Status WriteWindows(const GgufConfigTarget& target) {
  const bool windows =
      std::ranges::any_of(target.facts.blocks, [](const ModelFacts::Block& block) { return block.window != 0; });
  if (!windows) return {};
  target.SetWindowPattern();
  target.Set("rope.freq_base_swa", static_cast<float>(target.facts.sliding_theta));
  return {};
}

namespace {

// llama.cpp takes the keys and values of shared blocks from the last block that has its own, and of those with a window
// from the one before it.
void NoteSharing(const GgufConfigTarget& target) {
  const auto shared = static_cast<std::size_t>(NumberOf(target.config, "num_kv_shared_layers", 0));
  const auto& blocks = target.facts.blocks;
  if (shared == 0 || shared + 2 > blocks.size()) return;
  const std::size_t own = blocks.size() - shared;
  if (blocks[own - 1].window == 0 && blocks[own - 2].window != 0) return;
  target.notes.push_back(
      fmt::format("llama.cpp does not load this model: it wants the last blocks with keys and values of "
                  "their own to be one with a window and one without, and blocks {} and {} are not",
                  own - 2, own - 1));
}

}  // namespace

Status WriteGemma4(const GgufConfigTarget& target) {
  const ModelFacts& facts = target.facts;
  const std::size_t full = HeadDim(facts, false), sliding = HeadDim(facts, true);
  if (full == 0 || sliding == 0) {
    return NotInArchitecture(target, "has blocks with a window and blocks without, and this model has one kind");
  }
  NoteSharing(target);
  target.SetWindowPattern();
  SetByBlock(target, "feed_forward_length", &ModelFacts::Block::feed_forward);
  SetByBlock(target, "attention.head_count_kv", &ModelFacts::Block::kv_heads);
  for (const char* kind : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    target.Set(kind, static_cast<std::uint32_t>(full));
    target.Set(fmt::format("{}_swa", kind), static_cast<std::uint32_t>(sliding));
  }
  target.Set("rope.freq_base_swa", static_cast<float>(facts.sliding_theta));
  // Pairs beyond the share stand still: their frequency is divided by a huge number.
  constexpr float kStill = 1e30f;
  const json settings = RopeSettings(target.config);
  const double share = NumberOf(settings, "partial_rotary_factor", settings.empty() ? 0.25 : 1);
  std::vector<float> factors(full / 2, kStill);
  const std::size_t turning = static_cast<std::size_t>(share * static_cast<double>(full)) / 2;
  const double factor = NumberOf(settings, "factor", 1);
  if (factor != 1) return NotInArchitecture(target, fmt::format("does not scale proportional positions by {}", factor));
  std::fill_n(factors.begin(), std::min(turning, factors.size()), 1.0f);
  target.vectors.push_back({"rope_freqs.weight", std::move(factors)});
  return {};
}

Status WritePhi3(const GgufConfigTarget& target) {
  if (const auto window = target.config.find("sliding_window"); window != target.config.end()) {
    target.notes.push_back(
        fmt::format("llama.cpp computes no attention windows in the architecture {}: texts of more than "
                    "{} tokens get other logits there",
                    target.architecture, window->dump()));
  }
  const json settings = RopeSettings(target.config);
  const std::string type = settings.value("rope_type", settings.value("type", std::string("default")));
  if (type != "longrope" && type != "su") return {};
  const double context = static_cast<double>(target.config.value("max_position_embeddings", 0));
  const double short_context = NumberOf(settings, "original_max_position_embeddings",
                                        NumberOf(target.config, "original_max_position_embeddings", context));
  const double factor = NumberOf(settings, "factor", context / short_context);
  const double usual = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(short_context));
  target.Set("rope.scaling.attn_factor", static_cast<float>(NumberOf(settings, "attention_factor", usual)));
  target.Set("rope.scaling.original_context_length", static_cast<std::uint32_t>(short_context));
  for (const auto& [key, name] :
       {std::pair{"short_factor", "rope_factors_short.weight"}, std::pair{"long_factor", "rope_factors_long.weight"}}) {
    auto factors = FactorList(target, settings, key);
    if (!factors) return factors.error();
    target.vectors.push_back({name, *std::move(factors)});
  }
  return {};
}

// llama.cpp's matrix behind attention is square in this architecture.
Status WriteChatGlm(const GgufConfigTarget& target) {
  const auto hidden = NumberOf(target.config, "hidden_size", 0);
  const auto heads = NumberOf(target.config, "num_attention_heads", 0);
  const auto inner = heads * static_cast<double>(target.facts.blocks[0].head_dim);
  if (inner == hidden) return {};
  return NotInArchitecture(
      target, fmt::format("wants heads that make up the hidden size {}, and this model has {} dimensions in its heads",
                          hidden, inner));
}

Status WriteGptNeox(const GgufConfigTarget& target) {
  const auto parallel = target.config.find("use_parallel_residual");
  target.Set("use_parallel_residual",
             parallel == target.config.end() || !parallel->is_boolean() || parallel->get<bool>());
  return {};
}

}  // namespace marlin
