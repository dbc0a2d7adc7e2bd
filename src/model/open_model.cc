#include "model/open_model.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/config_keys.h"
#include "model/families/family.h"
#include "model/model_tensors.h"
#include "model/split_tensors.h"
#include "model/text_model.h"

namespace marlin {
namespace {

Error Located(const std::filesystem::path& path, const Error& error) {
  return {error.code, path.string() + ": " + error.message};
}

// A configuration that does not say whether the head is the embedding, beside files that hold another head: the head of
// the files counts, as in Hugging Face transformers.
void NameTheHead(Checkpoint& checkpoint) {
  constexpr const char* kKey = "tie_word_embeddings";
  if (!checkpoint.config.is_object() || checkpoint.config.contains(kKey)) return;
  const Tensor* const head = checkpoint.Find("lm_head.weight");
  const Tensor* const embedding = checkpoint.Find("model.embed_tokens.weight");
  if (head == nullptr || embedding == nullptr) return;
  const auto same = SameValues(*head, *embedding);
  if (same.ok() && !*same) checkpoint.config[kKey] = false;
}

// Files of a model without its head, such as GPT-2's, have names without the first part: "wte" is "transformer.wte".
void AddFirstPart(Checkpoint& checkpoint, const Description& description) {
  const std::string& embedding = description.NameOf(description.matrices[description.embedding].source);
  const std::string first = embedding.substr(0, embedding.find('.') + 1);
  if (checkpoint.Find(embedding) != nullptr || checkpoint.Find(embedding.substr(first.size())) == nullptr) return;
  std::vector<Tensor> tensors = std::move(checkpoint.tensors);
  for (Tensor& tensor : tensors) {
    if (!tensor.name.starts_with(description.head_name + ".")) tensor.name.insert(0, first);
  }
  checkpoint.Replace(std::move(tensors));
  checkpoint.name_in_files = [first](std::string_view name) {
    return std::string(name.starts_with(first) ? name.substr(first.size()) : name);
  };
}

Status CheckDescribed(const Checkpoint& without_tensors) {
  Checkpoint checkpoint;
  checkpoint.path = without_tensors.path;
  checkpoint.config = without_tensors.config;
  if (auto status = TakeTextModel(checkpoint); !status) return Located(checkpoint.path, status.error());
  const auto description = DescribeModel(checkpoint.config);
  return description ? Status() : Located(checkpoint.path, description.error());
}

}  // namespace

Status CheckConfig(std::string_view config_json, const std::filesystem::path& path) {
  const auto checkpoint = CheckpointOfConfig(config_json, path, AcceptedNames::Everything());
  return checkpoint ? CheckDescribed(*checkpoint) : checkpoint.error();
}

Result<OpenedModel> OpenModel(const std::filesystem::path& path, AcceptedNames accepted) {
  auto checkpoint = OpenCheckpoint(path, std::move(accepted), CheckDescribed);
  if (!checkpoint) return checkpoint.error();
  if (auto status = TakeTextModel(*checkpoint); !status) return Located(path, status.error());
  NameTheHead(*checkpoint);
  auto description = DescribeModel(checkpoint->config);
  if (!description) return Located(path, description.error());
  const std::string where = checkpoint->container == Container::kGguf ? path.string() : (path / "config.json").string();
  if (auto status = CheckConfigKeys(checkpoint->config, description->read_keys, where, checkpoint->accepted); !status)
    return status.error();
  AddFirstPart(*checkpoint, *description);
  if (auto status = SplitTensors(*checkpoint, *description); !status) return status.error();
  if (auto status = CheckTensors(*checkpoint, *description); !status) return status.error();
  return OpenedModel{std::move(*checkpoint), std::move(*description)};
}

}  // namespace marlin
