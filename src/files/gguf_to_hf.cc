#include "files/gguf_to_hf.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>

#include "files/gguf_keys.h"
#include "files/gguf_names.h"

namespace marlin {
namespace {
using nlohmann::json;

// Tensors in a block that hold nothing but what the settings say: the frequencies of rotary positions.
constexpr std::string_view kLeftOutOfBlocks = "attn_rot_embd";

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
  for (const GgufFamily& family : GgufFamilies()) {
    if (family.architecture == *architecture) return &family;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  return Unsupported(
      gguf, fmt::format("architecture \"{}\" is not supported; supported are {}", Printable(*architecture), known));
}

Status TranslateKeys(const GgufFile& gguf, const GgufFamily& family, json& config) {
  for (const GgufKeyRow& row : GgufKeyRows()) {
    const auto number = Number(gguf, family, row.suffix);
    if (!number) return number.error();
    if (*number) {
      config[row.key] = **number;
    } else if (row.required) {
      return Bad(gguf, fmt::format("metadata \"{}.{}\" is missing", family.architecture, row.suffix));
    }
  }
  // 0 says that there is no window.
  const auto window = config.find("sliding_window");
  if (window != config.end() && *window == 0) config.erase(window);
  if (config.contains("sliding_window")) config["use_sliding_window"] = true;
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
  if (config.contains("rope_scaling")) {
    return Unsupported(gguf, fmt::format("tensor rope_freqs.weight and metadata rope.scaling.type {} scale the rotary "
                                         "frequencies together; this program computes one of the two alone",
                                         config["rope_scaling"]["rope_type"].dump()));
  }
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

// Rows in the order of RowOrder, for the heads that the configuration has under `key`.
Status UndoInterleaving(const GgufFile& gguf, const json& config, const char* key, std::string_view stored_name,
                        Tensor& tensor) {
  const auto heads = Count(gguf, config, key);
  if (!heads) return heads.error();
  if (tensor.shape.empty() || tensor.shape.front() % (2 * *heads) != 0) {
    return Bad(gguf, fmt::format("tensor {} has {} rows, which are not {} heads of an even size",
                                 Printable(stored_name), tensor.shape.empty() ? 1 : tensor.shape.front(), *heads));
  }
  tensor.row_order.rotary_heads = *heads;
  return {};
}

// Makes `tensor` read as Hugging Face's.
Status Undo(Transform transform, const GgufFile& gguf, const json& config, std::string_view stored_name,
            Tensor& tensor) {
  switch (transform) {
    case Transform::kNone:
      break;
    case Transform::kInterleavedQueries:
      return UndoInterleaving(gguf, config, "num_attention_heads", stored_name, tensor);
    case Transform::kInterleavedKeys:
      return UndoInterleaving(gguf, config, "num_key_value_heads", stored_name, tensor);
  }
  return {};
}

Result<Tensor> TranslateTensor(const GgufFile& gguf, const Tensor& from, const NamedPlace& place, const json& config) {
  Tensor tensor = from;
  tensor.name = NameOf(place, kHfSpelling);
  const auto layers = Count(gguf, config, "num_hidden_layers");
  if (!layers) return layers.error();
  if (place.block && *place.block >= *layers) {
    return Bad(gguf, fmt::format("tensor {} belongs to block {} of {}", Printable(from.name), *place.block, *layers));
  }
  if (auto status = Undo(place.row->transform, gguf, config, from.name, tensor); !status) return status.error();
  return tensor;
}

Status TranslateTensors(const GgufFile& gguf, const GgufFamily& family, AcceptedNames& accepted, HuggingFaceView& out) {
  for (const Tensor& from : gguf.tensors) {
    if (from.name == "rope_freqs.weight") {
      if (auto status = TranslateRopeFactors(gguf, from, out.config); !status) return status;
      continue;
    }
    const NamedPlace place = FindPlace(family, kGgufSpelling, from.name);
    if (place.row == nullptr) {
      const bool harmless = place.block && place.stem == kLeftOutOfBlocks;
      if (harmless || accepted.Accept(from.name)) {
        out.left_out.push_back(Printable(from.name));
        continue;
      }
      return Unsupported(gguf, fmt::format("tensor {} has no place in the {} architecture as this program knows it{}",
                                           Printable(from.name), family.architecture, WayOut(Printable(from.name))));
    }
    auto tensor = TranslateTensor(gguf, from, place, out.config);
    if (!tensor) return tensor.error();
    out.tensors.push_back(std::move(*tensor));
  }
  return {};
}

const Tensor* Find(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

// Which linear layers have a bias: by the two keys of Hugging Face where those can say it, else by a list beside them.
void DescribeBiases(const GgufFamily& family, const std::vector<Tensor>& tensors, json& config) {
  json stems = json::array();
  std::size_t counts[3] = {0, 0, 0};  // by Biased
  for (const Tensor& tensor : tensors) {
    if (!tensor.name.ends_with(".bias")) continue;
    const std::string stem = tensor.name.substr(0, tensor.name.size() - 5);
    stems.push_back(stem);
    ++counts[static_cast<std::size_t>(stem.find(".mlp.") != std::string::npos ? Biased::kMlp : Biased::kAttention)];
  }
  bool standard = true;
  for (const auto& [kind, key] :
       {std::pair{Biased::kAttention, "attention_bias"}, std::pair{Biased::kMlp, "mlp_bias"}}) {
    const auto of_kind = [kind = kind](const GgufNameRow& row) { return row.biased == kind; };
    const auto rows = static_cast<std::size_t>(std::count_if(family.block.begin(), family.block.end(), of_kind));
    const std::size_t all = rows * config["num_hidden_layers"].get<std::size_t>();
    const std::size_t found = counts[static_cast<std::size_t>(kind)];
    config[key] = found > 0;
    standard = standard && (found == all || found == 0 || family.bias_always);
  }
  if (!standard) config[kBiasesKey] = std::move(stems);
}

// What only the tensors tell.
Status DescribeTensors(const GgufFile& gguf, const GgufFamily& family, const std::vector<Tensor>& tensors,
                       json& config) {
  const Tensor* embedding = Find(tensors, "model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return Bad(gguf, "tensor token_embd.weight is missing or no matrix");
  config["vocab_size"] = embedding->rows();
  config["tie_word_embeddings"] = Find(tensors, "lm_head.weight") == nullptr;
  DescribeBiases(family, tensors, config);
  const auto first = std::ranges::find_if(tensors, [](const Tensor& tensor) {  // matrix of a block
    return tensor.shape.size() == 2 && tensor.name.starts_with("model.layers.");
  });
  const DType dtype = first != tensors.end() ? first->dtype : embedding->dtype;
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
  const auto several = gguf.Find<GgufNumbers>("tokenizer.ggml.eos_token_ids");
  if (!several) return several.error();
  for (std::size_t i = 0; *several != nullptr && i < (*several)->size; ++i) {
    if (!(*several)->is_integer()) return Bad(gguf, "tokenizer.ggml.eos_token_ids holds numbers that are no integers");
    const std::int64_t id = (*several)->Integer(i);
    if (std::ranges::find(ends, json(id)) == ends.end()) ends.push_back(id);
  }
  if (!ends.empty()) config["eos_token_id"] = ends.size() == 1 ? ends[0] : ends;
  return {};
}

}  // namespace

Result<HuggingFaceView> TranslateGguf(const GgufFile& gguf, AcceptedNames& accepted) {
  const auto family = FindFamily(gguf);
  if (!family) return family.error();
  HuggingFaceView out;
  out.config["architectures"] = json::array({(*family)->hf_class});
  out.config["model_type"] = (*family)->model_type;
  out.config["hidden_act"] = "silu";
  if (auto status = TranslateKeys(gguf, **family, out.config); !status) return status.error();
  if (auto status = CheckGgufKeys(gguf, (*family)->architecture, accepted); !status) return status.error();
  if (auto status = CheckHeads(gguf, **family, out.config); !status) return status.error();
  if (auto status = TranslateRopeScaling(gguf, **family, out.config); !status) return status.error();
  if (auto status = TranslateTensors(gguf, **family, accepted, out); !status) return status.error();
  if (auto status = DescribeTensors(gguf, **family, out.tensors, out.config); !status) return status.error();
  if (auto status = TranslateTokenIds(gguf, out.config); !status) return status.error();
  return out;
}

}  // namespace marlin
