#include "io/gguf_to_hf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace marlin {
namespace {
using nlohmann::json;

// A metadata key "ARCH.suffix" and the configuration key that it becomes.
struct KeyRow {
  std::string_view suffix;
  const char* key;
  bool required;
};

// Rotary projections whose rows a family may store interleaved.
enum class Heads { kNone, kQuery, kKey };

// A tensor: "blk.N.SOURCE.weight" becomes "model.layers.N.TARGET.weight" (".bias" likewise).
struct NameRow {
  std::string_view source;
  std::string_view target;
  Heads heads = Heads::kNone;
};

struct GgufFamily {
  std::string_view architecture;  // "general.architecture" and the prefix of its keys
  const char* model_type;         // Hugging Face's
  const char* hf_class;
  bool interleaved_rotary;         // q and k are stored as RowOrder describes
  std::span<const KeyRow> keys;    // beside the common ones
  std::span<const NameRow> block;  // names inside a block
  json fixed;                      // configuration that the file does not state
};

constexpr std::array kCommonKeys = {
    KeyRow{"embedding_length", "hidden_size", true},
    KeyRow{"feed_forward_length", "intermediate_size", true},
    KeyRow{"block_count", "num_hidden_layers", true},
    KeyRow{"attention.head_count", "num_attention_heads", true},
    KeyRow{"attention.head_count_kv", "num_key_value_heads", false},
    KeyRow{"attention.key_length", "head_dim", false},
    KeyRow{"attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    KeyRow{"rope.freq_base", "rope_theta", false},
    KeyRow{"context_length", "max_position_embeddings", true},
};

constexpr std::array kLlamaKeys = {
    KeyRow{"attention.sliding_window", "sliding_window", false},
};

constexpr std::array kLlamaBlock = {
    NameRow{"attn_norm", "input_layernorm"},
    NameRow{"attn_q", "self_attn.q_proj", Heads::kQuery},
    NameRow{"attn_k", "self_attn.k_proj", Heads::kKey},
    NameRow{"attn_v", "self_attn.v_proj"},
    NameRow{"attn_output", "self_attn.o_proj"},
    NameRow{"ffn_norm", "post_attention_layernorm"},
    NameRow{"ffn_gate", "mlp.gate_proj"},
    NameRow{"ffn_up", "mlp.up_proj"},
    NameRow{"ffn_down", "mlp.down_proj"},
};

// Outside the blocks, whole stems.
constexpr std::array kOuterNames = {
    NameRow{"token_embd", "model.embed_tokens"},
    NameRow{"output_norm", "model.norm"},
    NameRow{"output", "lm_head"},
};

const std::array<GgufFamily, 2>& Families() {
  static const std::array<GgufFamily, 2> families = {{
      {"llama", "llama", "LlamaForCausalLM", true, kLlamaKeys, kLlamaBlock, json::object()},
      {"qwen2", "qwen2", "Qwen2ForCausalLM", false, {}, kLlamaBlock, {{"use_sliding_window", false}}},
  }};
  return families;
}

// Settings that would change the numbers and that no family here has: refused unless they have the neutral value.
struct NeutralRow {
  std::string_view suffix;
  double neutral;
};

constexpr std::array kNeutral = {
    NeutralRow{"expert_count", 0},
    NeutralRow{"attention.clamp_kqv", 0},
    NeutralRow{"attention.max_alibi_bias", 0},
    NeutralRow{"attention.scale", 0},
    NeutralRow{"logit_scale", 0},
    NeutralRow{"residual_scale", 0},
    NeutralRow{"embedding_scale", 0},
    NeutralRow{"attention.causal", 1},
    NeutralRow{"use_parallel_residual", 0},
    NeutralRow{"nextn_predict_layers", 0},
    NeutralRow{"attn_logit_softcapping", 0},
    NeutralRow{"final_logit_softcapping", 0},
};

Error Bad(const GgufFile& gguf, const std::string& what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", gguf.file.path().string(), what)};
}

Error Unsupported(const GgufFile& gguf, const std::string& what) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {}", gguf.file.path().string(), what)};
}

// The shortest decimal that gives the same float, so that 1e-5 stored as f32 reads 1e-05 and not 9.999999747378752e-06.
double Shortest(double value) {
  const float single = static_cast<float>(value);
  if (static_cast<double>(single) != value) return value;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), single).ptr;
  std::from_chars(text, end, value);
  return value;
}

// The number under ARCH.suffix, whatever its width; empty when absent.
Result<std::optional<json>> Number(const GgufFile& gguf, const GgufFamily& family, std::string_view suffix) {
  const std::string key = fmt::format("{}.{}", family.architecture, suffix);
  const auto found = gguf.metadata.find(key);
  if (found == gguf.metadata.end()) return std::optional<json>();
  if (const auto* flag = std::get_if<bool>(&found->second)) return std::optional<json>(*flag ? 1 : 0);
  if (const auto* integer = std::get_if<std::int64_t>(&found->second)) return std::optional<json>(*integer);
  if (const auto* real = std::get_if<double>(&found->second)) {
    if (!std::isfinite(*real)) return Bad(gguf, fmt::format("metadata \"{}\" is {}, want a number", key, *real));
    return std::optional<json>(Shortest(*real));
  }
  if (std::holds_alternative<GgufNumbers>(found->second)) {
    return Unsupported(gguf, fmt::format("metadata \"{}\" differs from layer to layer, which is not supported", key));
  }
  return Bad(gguf, fmt::format("metadata \"{}\" is not a number", key));
}

// The same as a positive number; `otherwise` when absent.
Result<double> Positive(const GgufFile& gguf, const GgufFamily& family, std::string_view suffix, double otherwise) {
  const auto number = Number(gguf, family, suffix);
  if (!number) return number.error();
  if (!*number) return otherwise;
  const double value = (*number)->get<double>();
  if (value > 0) return value;
  return Bad(gguf, fmt::format("metadata \"{}.{}\" is {}, want a positive number", family.architecture, suffix, value));
}

Result<const GgufFamily*> FindFamily(const GgufFile& gguf) {
  const auto parts = gguf.Find<std::int64_t>("split.count");
  if (!parts) return parts.error();
  if (*parts != nullptr && **parts > 1) {
    return Unsupported(
        gguf, fmt::format("this is one of {} parts of a model; merge them first (llama-gguf-split --merge)", **parts));
  }
  const auto architecture = gguf.Require<std::string_view>("general.architecture");
  if (!architecture) return architecture.error();
  std::string known;
  for (const GgufFamily& family : Families()) {
    if (family.architecture == *architecture) return &family;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  return Unsupported(
      gguf, fmt::format("architecture \"{}\" is not supported; supported are {}", Printable(*architecture), known));
}

Status TranslateKeys(const GgufFile& gguf, const GgufFamily& family, std::span<const KeyRow> keys, json& config) {
  for (const KeyRow& row : keys) {
    const auto number = Number(gguf, family, row.suffix);
    if (!number) return number.error();
    if (*number) {
      config[row.key] = **number;
    } else if (row.required) {
      return Bad(gguf, fmt::format("metadata \"{}.{}\" is missing", family.architecture, row.suffix));
    }
  }
  return {};
}

Status RefuseUnknownSettings(const GgufFile& gguf, const GgufFamily& family) {
  for (const NeutralRow& row : kNeutral) {
    const auto number = Number(gguf, family, row.suffix);
    if (!number) return number.error();
    if (*number && (*number)->get<double>() != row.neutral) {
      return Unsupported(gguf,
                         fmt::format("metadata \"{}.{}\" is {}, which this program would compute wrongly; supported "
                                     "is {}",
                                     family.architecture, row.suffix, (*number)->dump(), row.neutral));
    }
  }
  return {};
}

// hidden_size, heads and the rest as counts; the limits keep every product of two in 64 bits.
Result<std::size_t> Count(const GgufFile& gguf, const json& config, const char* key) {
  const json& value = config[key];
  if (value.is_number_integer() && value.get<std::int64_t>() > 0 &&
      value.get<std::int64_t>() < (std::int64_t{1} << 31)) {
    return value.get<std::size_t>();
  }
  return Bad(gguf, fmt::format("the metadata behind \"{}\" is {}, want a positive integer", key, value.dump()));
}

// rope.dimension_count and value_length against the size of a head.
Status CheckHeads(const GgufFile& gguf, const GgufFamily& family, json& config) {
  const auto hidden = Count(gguf, config, "hidden_size");
  if (!hidden) return hidden.error();
  const auto heads = Count(gguf, config, "num_attention_heads");
  if (!heads) return heads.error();
  if (!config.contains("num_key_value_heads")) config["num_key_value_heads"] = *heads;
  if (!config.contains("head_dim") && *hidden % *heads != 0) {
    return Bad(gguf, fmt::format("embedding_length {} is not a multiple of head_count {}", *hidden, *heads));
  }
  const auto head_dim = config.contains("head_dim") ? Count(gguf, config, "head_dim") : *hidden / *heads;
  if (!head_dim) return head_dim.error();
  const auto expected = static_cast<double>(*head_dim);
  const auto value_length = Positive(gguf, family, "attention.value_length", expected);
  if (!value_length) return value_length.error();
  const auto rotated = Positive(gguf, family, "rope.dimension_count", expected);
  if (!rotated) return rotated.error();
  if (*value_length != expected) {
    return Unsupported(gguf, fmt::format("keys have {} dimensions per head and values {}, which is not supported",
                                         expected, *value_length));
  }
  if (*rotated != expected) config["partial_rotary_factor"] = *rotated / expected;
  return {};
}

// The factors that Llama 3.1's scaling divides the frequencies by, for its published low and high factors and context.
constexpr double kLlama3Low = 1;
constexpr double kLlama3High = 4;
constexpr double kLlama3Context = 8192;

double Llama3Factor(double wavelength, double factor) {
  if (wavelength < kLlama3Context / kLlama3High) return 1;
  if (wavelength > kLlama3Context / kLlama3Low) return factor;
  const double blend = (kLlama3Context / wavelength - kLlama3Low) / (kLlama3High - kLlama3Low);
  return 1 / ((1 - blend) / factor + blend);
}

// A GGUF keeps the result of Llama 3.1's scaling, one divisor per frequency, and not its parameters. The parameters are
// recovered (the largest divisor is the factor) and must give the same divisors again.
Status TranslateRopeFactors(const GgufFile& gguf, const Tensor& tensor, json& config) {
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 1) {
    return Bad(gguf, "tensor rope_freqs.weight is not a vector of F32");
  }
  std::vector<float> factors(tensor.elements());
  if (auto s = DecodeRows(tensor, 0, MatrixView<float>(factors.data(), 1, factors.size())); !s) return s.error();
  const double largest = *std::max_element(factors.begin(), factors.end());
  const double theta = config.value("rope_theta", 10000.0);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(factors.size()));
    const double wanted = Llama3Factor(2 * std::numbers::pi / frequency, largest);
    // 1e-4: the file's factors went through fp32 powers; a wrong parameter is off by far more.
    if (!(std::abs(factors[i] - wanted) <= 1e-4 * wanted)) {
      return Unsupported(gguf,
                         fmt::format("tensor rope_freqs.weight is not Llama 3.1's scaling (element {} is {}, want {}); "
                                     "other frequency factors are not supported",
                                     i, factors[i], wanted));
    }
  }
  if (largest == 1) return {};
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", Shortest(largest)},
                            {"low_freq_factor", kLlama3Low},
                            {"high_freq_factor", kLlama3High},
                            {"original_max_position_embeddings", static_cast<int>(kLlama3Context)}};
  return {};
}

// rope.scaling.*: kept as Hugging Face spells it; the model refuses the types that it does not compute.
Status TranslateRopeScaling(const GgufFile& gguf, const GgufFamily& family, json& config) {
  const auto type = gguf.Find<std::string_view>(fmt::format("{}.rope.scaling.type", family.architecture));
  if (!type) return type.error();
  const auto old_linear = Positive(gguf, family, "rope.scale_linear", 1);
  if (!old_linear) return old_linear.error();
  const auto factor = Positive(gguf, family, "rope.scaling.factor", *old_linear);
  if (!factor) return factor.error();
  const auto context = Number(gguf, family, "rope.scaling.original_context_length");
  if (!context) return context.error();
  const std::string name = *type != nullptr ? Printable(**type) : *factor != 1 ? "linear" : "none";
  if (name == "none" || (name == "linear" && *factor == 1)) return {};
  config["rope_scaling"] = {{"rope_type", name}, {"factor", *factor}};
  if (*context) config["rope_scaling"]["original_max_position_embeddings"] = **context;
  return {};
}

// "blk.12.attn_q" -> 12 and "attn_q".
struct BlockName {
  std::size_t block = 0;
  std::string_view rest;
};

std::optional<BlockName> SplitBlockName(std::string_view stem) {
  if (!stem.starts_with("blk.")) return {};
  stem.remove_prefix(4);
  BlockName name;
  const auto parsed = std::from_chars(stem.data(), stem.data() + stem.size(), name.block);
  if (parsed.ec != std::errc() || parsed.ptr == stem.data() + stem.size() || *parsed.ptr != '.') return {};
  name.rest = stem.substr(static_cast<std::size_t>(parsed.ptr - stem.data()) + 1);
  return name;
}

const NameRow* FindName(std::span<const NameRow> names, std::string_view source) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const NameRow& row) { return row.source == source; });
  return found == names.end() ? nullptr : &*found;
}

Result<Tensor> TranslateTensor(const GgufFile& gguf, const GgufFamily& family, const Tensor& from, const json& config) {
  const std::string_view full = from.name;
  const std::size_t dot = full.rfind('.');
  const std::string_view stem = full.substr(0, dot);
  const std::string_view ending = dot == std::string_view::npos ? "" : full.substr(dot);
  const auto in_block = SplitBlockName(stem);
  const NameRow* row = in_block ? FindName(family.block, in_block->rest) : FindName(kOuterNames, stem);
  if (row == nullptr || (ending != ".weight" && ending != ".bias")) {
    return Unsupported(gguf, fmt::format("tensor {} has no place in the {} architecture as this program knows it",
                                         Printable(from.name), family.architecture));
  }
  Tensor tensor = from;
  tensor.name = in_block ? fmt::format("model.layers.{}.{}{}", in_block->block, row->target, ending)
                         : fmt::format("{}{}", row->target, ending);
  const auto layers = Count(gguf, config, "num_hidden_layers");
  if (!layers) return layers.error();
  if (in_block && in_block->block >= *layers) {
    return Bad(gguf,
               fmt::format("tensor {} belongs to block {} of {}", Printable(from.name), in_block->block, *layers));
  }
  if (!family.interleaved_rotary || row->heads == Heads::kNone) return tensor;
  const char* key = row->heads == Heads::kQuery ? "num_attention_heads" : "num_key_value_heads";
  const auto heads = Count(gguf, config, key);
  if (!heads) return heads.error();
  if (tensor.shape.empty() || tensor.shape.front() % (2 * *heads) != 0) {
    return Bad(gguf, fmt::format("tensor {} has {} rows, which are not {} heads of an even size", Printable(from.name),
                                 tensor.shape.empty() ? 1 : tensor.shape.front(), *heads));
  }
  tensor.row_order.rotary_heads = *heads;
  return tensor;
}

Status TranslateTensors(const GgufFile& gguf, const GgufFamily& family, HuggingFaceView& out) {
  for (const Tensor& from : gguf.tensors) {
    if (from.name == "rope_freqs.weight") {
      if (auto status = TranslateRopeFactors(gguf, from, out.config); !status) return status;
      continue;
    }
    auto tensor = TranslateTensor(gguf, family, from, out.config);
    if (!tensor) return tensor.error();
    out.tensors.push_back(std::move(*tensor));
  }
  return {};
}

const Tensor* Find(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

// What only the tensors tell.
Status DescribeTensors(const GgufFile& gguf, const std::vector<Tensor>& tensors, json& config) {
  const Tensor* embedding = Find(tensors, "model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return Bad(gguf, "tensor token_embd.weight is missing or no matrix");
  config["vocab_size"] = embedding->rows();
  config["tie_word_embeddings"] = Find(tensors, "lm_head.weight") == nullptr;
  config["attention_bias"] = Find(tensors, "model.layers.0.self_attn.q_proj.bias") != nullptr;
  config["mlp_bias"] = Find(tensors, "model.layers.0.mlp.up_proj.bias") != nullptr;
  const Tensor* first = Find(tensors, "model.layers.0.self_attn.q_proj.weight");
  const DType dtype = first != nullptr ? first->dtype : embedding->dtype;
  config["torch_dtype"] = dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF32 ? "float32" : "float16";
  return {};
}

// A text ends at the end of the whole, of a turn or of a message: several become a list, as Hugging Face has them.
Status TranslateTokenIds(const GgufFile& gguf, json& config) {
  const auto bos = gguf.Find<std::int64_t>("tokenizer.ggml.bos_token_id");
  if (!bos) return bos.error();
  if (*bos != nullptr) config["bos_token_id"] = **bos;
  json ends = json::array();
  for (const char* source :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const auto id = gguf.Find<std::int64_t>(source);
    if (!id) return id.error();
    if (*id != nullptr && std::ranges::find(ends, json(**id)) == ends.end()) ends.push_back(**id);
  }
  if (!ends.empty()) config["eos_token_id"] = ends.size() == 1 ? ends[0] : ends;
  return {};
}

}  // namespace

Result<HuggingFaceView> TranslateGguf(const GgufFile& gguf) {
  const auto family = FindFamily(gguf);
  if (!family) return family.error();
  HuggingFaceView out;
  out.config = (*family)->fixed;
  out.config["architectures"] = json::array({(*family)->hf_class});
  out.config["model_type"] = (*family)->model_type;
  out.config["hidden_act"] = "silu";
  for (const std::span<const KeyRow> keys : {std::span<const KeyRow>(kCommonKeys), (*family)->keys}) {
    if (auto status = TranslateKeys(gguf, **family, keys, out.config); !status) return status.error();
  }
  if (auto status = RefuseUnknownSettings(gguf, **family); !status) return status.error();
  if (auto status = CheckHeads(gguf, **family, out.config); !status) return status.error();
  if (auto status = TranslateRopeScaling(gguf, **family, out.config); !status) return status.error();
  if (auto status = TranslateTensors(gguf, **family, out); !status) return status.error();
  if (auto status = DescribeTensors(gguf, out.tensors, out.config); !status) return status.error();
  if (auto status = TranslateTokenIds(gguf, out.config); !status) return status.error();
  return out;
}

}  // namespace marlin
