#include "cli/text.h"

namespace marlin {

void AddTextOptions(CLI::App& app, TextOptions& options) {
  app.add_option("--data", options.data,
                 "Text file, or folder holding wiki.test.raw; \"built-in\" = the sample text of the program. "
                 "Default: WikiText-2 from $METAL_MARLIN_DATA, the cache, or the network");
  app.add_flag("--offline", options.offline, "Never touch the network");
}

Result<EvalText> FindText(const TextOptions& options, Console& console) {
  if (options.data == "built-in") return BuiltInSample();
  DatasetOptions dataset;
  dataset.data = options.data;
  dataset.offline = options.offline;
  auto text = FindWikiText2(dataset, console.progress());
  if (!text) return text.error();
  for (const std::string& warning : text->warnings) console.Warn(warning);
  return text;
}

}  // namespace marlin
