#include "cli/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/model_names.h"

namespace marlin {
namespace {

constexpr const char* kOption = "--accept-unknown";

}  // namespace

void AddAcceptUnknown(Verb& verb, std::vector<std::string>& names) {
  verb.Add(
          kOption, names,
          "Go on although the model holds this key or tensor, which the program does not know: it has no effect on the "
          "numbers, and every result says so. May be repeated")
      .OneWordEach();
}

Result<std::optional<Tokenizer>> TokenizerOf(const Checkpoint& checkpoint) {
  if (!Tokenizer::IsThere(checkpoint)) return std::optional<Tokenizer>();
  auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!tokenizer) return tokenizer.error();
  return std::optional<Tokenizer>(*std::move(tokenizer));
}

void WarnOfAccepted(const Checkpoint& checkpoint, const std::vector<std::string>& accept, Console& console) {
  const std::vector<std::string> found = checkpoint.accepted.found();
  if (!found.empty()) {
    console.Warn(fmt::format("{}: measured without {}, which this program does not know ({})", checkpoint.path.string(),
                             fmt::join(found, ", "), kOption));
  }
  for (const std::string& name : accept) {
    if (std::ranges::find(found, name) != found.end()) continue;
    console.Warn(fmt::format("{}: {} {} has no effect: nothing unknown in this model has that name",
                             checkpoint.path.string(), kOption, name));
  }
}

Result<OpenedModel> OpenModelOf(const std::string& name, const std::vector<std::string>& accept, Console& console) {
  const auto model = FindModel(name);
  if (!model) return model.error();
  if (!model->note.empty()) console.Warn(model->note);
  auto opened = OpenModel(model->path, AcceptedNames(accept));
  if (opened) WarnOfAccepted(opened->checkpoint, accept, console);
  return opened;
}

void WarnOfQuantizedSource(const Checkpoint& checkpoint, const std::string& name, Console& console) {
  if (!IsQuantizedSource(checkpoint)) return;
  console.Warn(
      fmt::format("{} is already quantized ({}): a model made of it cannot recover what was lost, and may be larger; "
                  "`metal-marlin inspect` compares their sizes",
                  name, SourceType(checkpoint)));
}

std::vector<std::string> AcceptWords(const std::vector<std::string>& names) {
  std::vector<std::string> words;
  for (const std::string& name : names) {
    words.emplace_back(kOption);
    words.push_back(name);
  }
  return words;
}

}  // namespace marlin
