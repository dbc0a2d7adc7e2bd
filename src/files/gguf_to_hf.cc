#include "files/gguf_to_hf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>

#include "base/did_you_mean.h"
#include "files/gguf_families.h"
#include "files/gguf_keys.h"
#include "files/gguf_metadata.h"
#include "files/gguf_names.h"
#include "files/gguf_rope.h"

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

Result<const GgufFamily*> FindFamily(const GgufFile& gguf) {
  const auto architecture = gguf.Require<std::string_view>("general.architecture");
  if (!architecture) return architecture.error();
  std::vector<std::string> known;
  for (const GgufFamily& family : GgufFamilies()) {
    if (family.architecture == *architecture) return &family;
    known.emplace_back(family.architecture);
  }
  const std::string name = Printable(*architecture);
  return Unsupported(gguf, fmt::format("architecture \"{}\" is not supported{} Supported are {}", name,
                                       DidYouMean(name, known), fmt::join(known, ", ")));
}

Status TranslateKeys(const GgufMetadata& metadata, const GgufFamily& family, json& config) {
  const auto translate = [&](const GgufKeyRow& row, const char* key) -> Status {
    if (key == nullptr) return {};
    const auto number = metadata.Number(row.suffix);
    if (!number) return number.error();
    if (*number) {
      config[key] = **number;
    } else if (row.required) {
      return metadata.Bad(fmt::format("metadata \"{}.{}\" is missing", family.architecture, row.suffix));
    }
    return {};
  };
  for (const GgufKeyRow& row : GgufKeyRows()) {
    if (auto status = translate(row, GgufKeyOf(family, row)); !status) return status;
  }
  for (const GgufKeyRow& row : family.keys) {
    if (auto status = translate(row, row.key); !status) return status;
  }
  return {};
}

// The usual name of a count; the key of config.json is the family's.
const char* KeyOf(const GgufFamily& family, std::string_view suffix) {
  for (const GgufKeyRow& row : GgufKeyRows()) {
    if (row.suffix == suffix) return GgufKeyOf(family, row);
  }
  return nullptr;
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

// Sizes that other settings are checked against.
struct Heads {
  std::size_t hidden = 0, heads = 0, head_dim = 0;
};

Result<Heads> ReadHeads(const GgufMetadata& metadata, const GgufFamily& family, const json& config) {
  const GgufFile& gguf = metadata.gguf();
  const auto hidden = Count(gguf, config, KeyOf(family, "embedding_length"));
  if (!hidden) return hidden.error();
  const auto heads = Count(gguf, config, KeyOf(family, "attention.head_count"));
  if (!heads) return heads.error();
  const char* const key = KeyOf(family, "attention.key_length");
  const bool given = key != nullptr && config.contains(key);
  if (!given && key != nullptr && *hidden % *heads != 0) {
    return metadata.Bad(fmt::format("embedding_length {} is not a multiple of head_count {}", *hidden, *heads));
  }
  const auto head_dim = given ? Count(gguf, config, key) : *hidden / *heads;
  if (!head_dim) return head_dim.error();
  return Heads{*hidden, *heads, *head_dim};
}

// rope.dimension_count and value_length against the size of a head.
Status CheckHeads(const GgufMetadata& metadata, const GgufFamily& family, const Heads& sizes, json& config) {
  const char* const kv_heads = KeyOf(family, "attention.head_count_kv");
  if (kv_heads != nullptr && !config.contains(kv_heads)) config[kv_heads] = sizes.heads;
  const auto expected = static_cast<double>(sizes.head_dim);
  const auto value_length = metadata.Positive("attention.value_length", expected);
  if (!value_length) return value_length.error();
  const auto rotated = metadata.Positive("rope.dimension_count", expected);
  if (!rotated) return rotated.error();
  if (*value_length != expected) {
    return metadata.Unsupported(
        fmt::format("keys have {} dimensions per head and values {}, which is not supported", expected, *value_length));
  }
  if (*rotated != expected) config["partial_rotary_factor"] = *rotated / expected;
  return {};
}

// A GGUF keeps the result of Llama 3.1's scaling, one divisor per frequency, and not its parameters. The parameters are
// recovered and must give the same divisors again.
Status TranslateRopeFactors(const GgufFile& gguf, const Tensor& tensor, json& config) {
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 1) {
    return Bad(gguf, "tensor rope_freqs.weight is not a vector of F32");
  }
  std::vector<float> factors(tensor.elements());
  if (auto s = DecodeRows(tensor, 0, MatrixView<float>(factors.data(), 1, factors.size())); !s) return s.error();
  const auto scaling = FitLlama3(factors, config.value("rope_theta", 10000.0));
  if (!scaling) {
    return Unsupported(
        gguf,
        "tensor rope_freqs.weight is not Llama 3.1's scaling of rotary positions; other frequency factors "
        "are not supported");
  }
  if (scaling->factor == 1) return {};
  if (config.contains("rope_scaling")) {
    return Unsupported(gguf, fmt::format("tensor rope_freqs.weight and metadata rope.scaling.type {} scale the rotary "
                                         "frequencies together; this program computes one of the two alone",
                                         config["rope_scaling"]["rope_type"].dump()));
  }
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", ShortestDecimal(scaling->factor)},
                            {"low_freq_factor", scaling->low},
                            {"high_freq_factor", scaling->high},
                            {"original_max_position_embeddings", scaling->context}};
  return {};
}

// Settings of YaRN beside factor and context, where the file has them.
struct YarnKey {
  std::string_view suffix;
  const char* key;
};
constexpr std::array kYarnKeys = {YarnKey{"rope.scaling.yarn_attn_factor", "attention_factor"},
                                  YarnKey{"rope.scaling.yarn_beta_fast", "beta_fast"},
                                  YarnKey{"rope.scaling.yarn_beta_slow", "beta_slow"}};

// rope.scaling.*: kept as Hugging Face spells it; the model refuses the types that it does not compute.
Status TranslateRopeScaling(const GgufMetadata& metadata, json& config) {
  const auto type = metadata.Text("rope.scaling.type");
  if (!type) return type.error();
  const auto old_linear = metadata.Positive("rope.scale_linear", 1);
  if (!old_linear) return old_linear.error();
  const auto factor = metadata.Positive("rope.scaling.factor", *old_linear);
  if (!factor) return factor.error();
  const auto context = metadata.Number("rope.scaling.original_context_length");
  if (!context) return context.error();
  const std::string name = *type ? **type : *factor != 1 ? "linear" : "none";
  if (name == "none" || (name == "linear" && *factor == 1)) return {};
  json scaling = {{"rope_type", name}, {"factor", *factor}};
  if (*context) scaling["original_max_position_embeddings"] = **context;
  for (const YarnKey& row : kYarnKeys) {
    if (name != "yarn") break;
    const auto number = metadata.Number(row.suffix);
    if (!number) return number.error();
    if (*number) scaling[row.key] = **number;
  }
  // llama.cpp computes the usual magnitude of YaRN and multiplies it by this.
  const auto magnitude = name == "yarn" ? metadata.Positive("rope.scaling.attn_factor", 1) : Result<double>(1.0);
  if (!magnitude) return magnitude.error();
  if (*magnitude != 1) {
    if (!scaling.contains("attention_factor")) {
      scaling["attention_factor"] = ShortestDecimal(*magnitude * UsualYarnMagnitude(*factor));
    }
  }
  config["rope_scaling"] = std::move(scaling);
  return {};
}

// The rows of rotary heads, for the heads that the configuration has under `key`.
Status UndoInterleaving(const GgufFile& gguf, const json& config, const char* key, std::string_view stored_name,
                        Tensor& tensor) {
  const auto heads = Count(gguf, config, key);
  if (!heads) return heads.error();
  if (tensor.shape.empty() || tensor.shape.front() % (2 * *heads) != 0) {
    return Bad(gguf, fmt::format("tensor {} has {} rows, which are not {} heads of an even size",
                                 Printable(stored_name), tensor.shape.empty() ? 1 : tensor.shape.front(), *heads));
  }
  tensor.stored.rotary_heads = *heads;
  return {};
}

// A third of the rows.
Result<std::vector<Tensor>> CutInThree(const GgufFile& gguf, const GgufFamily& family, const NamedPlace& place,
                                       const Tensor& from) {
  if (from.shape.empty() || from.shape.front() % 3 != 0) {
    return Bad(gguf, fmt::format("tensor {} has {} rows, which are not queries, keys and values", Printable(from.name),
                                 from.shape.empty() ? 1 : from.shape.front()));
  }
  const std::size_t all = from.shape.front(), each = all / 3;
  std::vector<Tensor> parts;
  for (const char* part : {".query", ".key", ".value"}) {
    Tensor tensor = from;
    tensor.name = NameOf(family, place, Spelling::kHf, part);
    tensor.shape.front() = each;
    tensor.stored.rows = {parts.size() * each, each, each};
    tensor.stored.all_rows = all;
    parts.push_back(std::move(tensor));
  }
  return parts;
}

// As Hugging Face's tensor reads, or as the parts of it that this program knows.
Result<std::vector<Tensor>> Undo(const GgufFile& gguf, const GgufFamily& family, const NamedPlace& place,
                                 const Tensor& from, const json& config) {
  Tensor tensor = from;
  tensor.name = NameOf(family, place, Spelling::kHf);
  Status status;
  switch (place.row->transform) {
    case Transform::kNone:
      break;
    case Transform::kInterleavedQueries:
      status = UndoInterleaving(gguf, config, "num_attention_heads", from.name, tensor);
      break;
    case Transform::kInterleavedKeys:
      status = UndoInterleaving(gguf, config, "num_key_value_heads", from.name, tensor);
      break;
    case Transform::kPlusOne:
      tensor.stored.added = 1;
      break;
    case Transform::kThreeParts:
      return CutInThree(gguf, family, place, from);
    case Transform::kTransposed:
      if (place.ending == ".weight") tensor.name = NameOf(family, place, Spelling::kHf, ".transposed");
      break;
    case Transform::kNoEnding:
      tensor.name = tensor.name.substr(0, tensor.name.size() - place.ending.size());
      break;
  }
  if (!status) return status.error();
  return std::vector{std::move(tensor)};
}

Result<std::vector<Tensor>> TranslateTensor(const GgufFile& gguf, const GgufFamily& family, const Tensor& from,
                                            const NamedPlace& place, const json& config) {
  const auto blocks = Count(gguf, config, KeyOf(family, "block_count"));
  if (!blocks) return blocks.error();
  if (place.block && *place.block >= *blocks) {
    return Bad(gguf, fmt::format("tensor {} belongs to block {} of {}", Printable(from.name), *place.block, *blocks));
  }
  return Undo(gguf, family, place, from, config);
}

// Vectors that say how rotary frequencies are changed; FinishPhi3 and FinishGemma4 read theirs.
struct RopeReader {
  std::string_view architecture, tensor;
};
constexpr std::array kRopeReaders = {RopeReader{"gemma4", "rope_freqs.weight"},
                                     RopeReader{"phi3", "rope_factors_long.weight"},
                                     RopeReader{"phi3", "rope_factors_short.weight"}};

bool HasReader(const GgufFamily& family, std::string_view tensor) {
  return std::ranges::any_of(kRopeReaders, [&](const RopeReader& row) {
    return row.architecture == family.architecture && row.tensor == tensor;
  });
}

Status TranslateTensors(const GgufFile& gguf, const GgufFamily& family, AcceptedNames& accepted, HuggingFaceView& out) {
  for (const Tensor& from : gguf.tensors) {
    if (HasReader(family, from.name)) continue;
    if (from.name == "rope_freqs.weight") {
      if (auto status = TranslateRopeFactors(gguf, from, out.config); !status) return status;
      continue;
    }
    const NamedPlace place = FindPlace(family, Spelling::kGguf, from.name);
    if (place.row == nullptr) {
      const bool harmless = place.block && place.stem == kLeftOutOfBlocks;
      if (harmless || accepted.Accept(from.name)) {
        out.left_out.push_back(Printable(from.name));
        continue;
      }
      return Unsupported(gguf, fmt::format("tensor {} has no place in the {} architecture as this program knows it{}",
                                           Printable(from.name), family.architecture, WayOut(Printable(from.name))));
    }
    auto tensors = TranslateTensor(gguf, family, from, place, out.config);
    if (!tensors) return tensors.error();
    std::ranges::move(*tensors, std::back_inserter(out.tensors));
  }
  return {};
}

const Tensor* Find(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

// Which linear layers have a bias: by the two keys of Hugging Face where those can say it, else by a list beside them.
void DescribeBiases(const GgufFamily& family, const std::vector<Tensor>& tensors, std::size_t blocks, json& config) {
  if (std::ranges::any_of(family.block, [](const GgufNameRow& row) { return row.biased == Biased::kAlways; })) return;
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
    const std::size_t found = counts[static_cast<std::size_t>(kind)];
    config[key] = found > 0;
    standard = standard && (found == rows * blocks || found == 0 || family.bias_always);
  }
  if (!standard) config[kBiasesKey] = std::move(stems);
}

// What only the tensors tell.
Status DescribeTensors(const GgufFile& gguf, const GgufFamily& family, const std::vector<Tensor>& tensors,
                       std::size_t blocks, json& config) {
  const auto outer = [&](std::string_view stem) {
    const auto row = std::ranges::find(family.outer, stem, &GgufNameRow::gguf);
    return Find(tensors, fmt::format("{}.weight", row->hf));
  };
  const Tensor* embedding = outer("token_embd");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return Bad(gguf, "tensor token_embd.weight is missing or no matrix");
  config["vocab_size"] = embedding->rows();
  // Some programs write the shared matrix twice.
  const Tensor* const output = outer("output");
  config["tie_word_embeddings"] =
      output == nullptr || (output->dtype == embedding->dtype && output->shape == embedding->shape &&
                            std::ranges::equal(output->bytes, embedding->bytes));
  DescribeBiases(family, tensors, blocks, config);
  const auto first = std::ranges::find_if(tensors, [&](const Tensor& tensor) {  // matrix of a block
    return tensor.shape.size() == 2 && tensor.name.starts_with(family.hf_blocks);
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

namespace {

// Everything but the tensors.
Result<Heads> TranslateSettings(const GgufMetadata& metadata, const GgufFamily& family, json& config) {
  config["architectures"] = json::array({family.hf_class});
  config["model_type"] = family.model_type;
  if (auto status = TranslateKeys(metadata, family, config); !status) return status.error();
  auto heads = ReadHeads(metadata, family, config);
  if (!heads) return heads;
  const bool one_size = KeyOf(family, "attention.key_length") != nullptr;
  if (one_size) {
    if (auto status = CheckHeads(metadata, family, *heads, config); !status) return status.error();
  }
  if (auto status = TranslateRopeScaling(metadata, config); !status) return status.error();
  return heads;
}

}  // namespace

Result<HuggingFaceView> TranslateGguf(const GgufFile& gguf, AcceptedNames& accepted) {
  const auto found = FindFamily(gguf);
  if (!found) return found.error();
  const GgufFamily& family = **found;
  const GgufMetadata metadata(gguf, family.architecture);
  HuggingFaceView out;
  const auto heads = TranslateSettings(metadata, family, out.config);
  if (!heads) return heads.error();
  if (auto status = TranslateTensors(gguf, family, accepted, out); !status) return status.error();
  const auto blocks = Count(gguf, out.config, KeyOf(family, "block_count"));
  if (!blocks) return blocks.error();
  if (auto status = DescribeTensors(gguf, family, out.tensors, *blocks, out.config); !status) return status.error();
  const GgufConfigSource source{metadata, out.tensors, *blocks, heads->hidden, heads->heads, heads->head_dim};
  if (auto status = family.finish(source, out.config); !status) return status.error();
  if (auto status = CheckGgufKeys(gguf, family.architecture, metadata.read(), accepted); !status) return status.error();
  if (auto status = TranslateTokenIds(gguf, out.config); !status) return status.error();
  out.name_in_file = [&family](std::string_view name) {
    const NamedPlace place = FindPlace(family, Spelling::kHf, name);
    return place.row == nullptr ? std::string(name) : NameOf(family, place, Spelling::kGguf);
  };
  return out;
}

}  // namespace marlin
