// The names of GGUF files beside those of Hugging Face, as tables that are read in both directions. A family of models
// is a row of the table in gguf_names.cc.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace marlin {

// A metadata key "ARCH.suffix" and the key of config.json that says the same.
struct GgufKeyRow {
  std::string_view suffix;
  const char* key;
  bool required;
};

// Linear layers that may have a bias, which config.json speaks of together.
enum class Biased { kNever, kAttention, kMlp };

// How the values of a GGUF file differ from those of Hugging Face. gguf_to_hf.cc undoes it.
enum class Transform {
  kNone,
  kInterleavedQueries,  // Stored::rotary_heads, for as many heads as there are queries
  kInterleavedKeys,     // the same for keys
};

// A tensor: "blk.N.GGUF.weight" is "model.layers.N.HF.weight" (".bias" likewise). Outside the blocks, whole stems.
struct GgufNameRow {
  std::string_view gguf;
  std::string_view hf;
  Biased biased = Biased::kNever;
  Transform transform = Transform::kNone;
};

struct GgufFamily {
  std::string_view architecture;  // "general.architecture" and the prefix of its keys
  const char* model_type;         // Hugging Face's
  const char* hf_class;
  bool bias_always;                    // of the layers that may have one; else the configuration says "attention_bias"
  std::span<const GgufNameRow> block;  // names inside a block
};

std::span<const GgufFamily> GgufFamilies();
std::span<const GgufKeyRow> GgufKeyRows();
std::span<const GgufNameRow> GgufOuterNames();

// One of the two ways to spell the name of a tensor.
struct Spelling {
  std::string_view before_block;  // the number of the block follows it
  std::string_view GgufNameRow::*name;
};
inline constexpr Spelling kGgufSpelling = {"blk.", &GgufNameRow::gguf};
inline constexpr Spelling kHfSpelling = {"model.layers.", &GgufNameRow::hf};

// A tensor, whatever the spelling: of the whole model, or of a block.
struct NamedPlace {
  const GgufNameRow* row = nullptr;  // null = the family has no such tensor
  std::optional<std::size_t> block;
  std::string_view stem;    // without block and ending; a part of the name
  std::string_view ending;  // ".weight", ".bias"; likewise
};

NamedPlace FindPlace(const GgufFamily& family, const Spelling& spelling, std::string_view name);

// The name of a place that has a row.
std::string NameOf(const NamedPlace& place, const Spelling& spelling);

}  // namespace marlin
