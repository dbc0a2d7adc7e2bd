// The names of GGUF files beside those of Hugging Face, as tables that are read in both directions. A family of models
// is a row of the table in gguf_names.cc; what no table can say of it is a function in gguf_families.cc.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "files/gguf.h"
#include "files/gguf_families.h"

namespace marlin {

// A metadata key "ARCH.suffix" and the key of config.json that says the same. Without such a key it is read by the
// function of the family.
struct GgufKeyRow {
  std::string_view suffix;
  const char* key;
  bool required;
  GgufType type = GgufType::kU32;  // as llama.cpp wants it written; numbers of every type are read
};

// Linear layers that may have a bias, which config.json speaks of together; or vectors that always have one.
enum class Biased { kNever, kAttention, kMlp, kAlways };

// How the values of a GGUF file differ from those of Hugging Face. gguf_to_hf.cc undoes it, hf_to_gguf.cc does it.
enum class Transform {
  kNone,
  kInterleavedQueries,  // Stored::rotary_heads, for as many heads as there are queries
  kInterleavedKeys,     // the same for keys
  kPlusOne,             // Stored::added is 1
  kThreeParts,          // queries, keys and values, one after the other; in Hugging Face's files they lie otherwise
  kTransposed,          // [n, k] where Hugging Face has [k, n]
  kNoEnding             // Hugging Face's name has no ".weight"
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
  std::span<const GgufNameRow> outer;  // and outside
  std::span<const GgufKeyRow> keys;    // beside those that most families have (GgufKeyRows)
  FinishGgufConfig finish;             // what no table can say
  WriteGgufConfig write = nullptr;     // the same in the other direction; null = nothing
  std::string_view hf_blocks = "model.layers.";
  bool frequency_factors = false;  // llama.cpp reads a tensor rope_freqs.weight in this architecture
};

std::span<const GgufFamily> GgufFamilies();
// The family that a class of Hugging Face is written as; null = llama.cpp has no architecture for it that is read here.
const GgufFamily* GgufFamilyOfClass(std::string_view hf_class);
// Keys of most families. A family's own row for a suffix counts instead.
std::span<const GgufKeyRow> GgufKeyRows();

// The key of a suffix in config.json: the family's own, else the usual one; null = a function of the family has it.
const char* GgufKeyOf(const GgufFamily& family, const GgufKeyRow& row);

// The two ways to spell the name of a tensor.
enum class Spelling { kGguf, kHf };

// A tensor, whatever the spelling: of the whole model, or of a block.
struct NamedPlace {
  const GgufNameRow* row = nullptr;  // null = the family has no such tensor
  std::optional<std::size_t> block;
  std::string_view stem;    // without block and ending; a part of the name
  std::string_view ending;  // ".weight", ".bias"; likewise
};

NamedPlace FindPlace(const GgufFamily& family, Spelling spelling, std::string_view name);

// The name of a place that has a row. `part` stands between stem and ending.
std::string NameOf(const GgufFamily& family, const NamedPlace& place, Spelling spelling, std::string_view part = "");

}  // namespace marlin
