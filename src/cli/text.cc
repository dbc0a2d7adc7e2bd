#include "cli/text.h"

#include <fmt/format.h>

namespace marlin {
namespace {

DatasetOptions ToDataset(const TextOptions& options) {
  DatasetOptions dataset;
  dataset.data = options.data;
  dataset.offline = options.offline;
  return dataset;
}

}  // namespace

void AddTextOptions(Verb& verb, TextOptions& options) {
  verb.Add("--data", options.data,
           "Text file, or folder holding wiki.test.raw; \"built-in\" = the sample text of the program. "
           "Default: WikiText-2 from $METAL_MARLIN_DATA, the cache, or the network");
  verb.AddFlag("--offline", options.offline, "Never touch the network");
}

Result<EvalText> FindText(const TextOptions& options, Console& console) {
  if (options.data == "built-in") return BuiltInSample();
  auto text = FindWikiText2(ToDataset(options), console.progress());
  if (!text) return text.error();
  for (const std::string& warning : text->warnings) console.Warn(warning);
  return text;
}

Result<EvalText> FindTextWithoutNetwork(const TextOptions& options, Console& console) {
  if (options.data == "built-in") return BuiltInSample();
  auto text = FindLocalWikiText2(ToDataset(options));
  if (!text) return text.error();
  if (text->has_value()) {
    for (const std::string& warning : (*text)->warnings) console.Warn(warning);
    return std::move(**text);
  }
  const std::string forbidding = ForbidsDownload(ToDataset(options));
  console.Say(forbidding.empty() ? "WikiText-2 is not here yet: the measurement will download it (4.7 MB)"
                                 : fmt::format("WikiText-2 is missing here and {} forbids its download: give --data "
                                               "FILE or --data built-in",
                                               forbidding));
  return AbsentWikiText2();
}

}  // namespace marlin
