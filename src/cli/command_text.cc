#include "cli/command_text.h"

#include "cli/command_line.h"
#include "report/table.h"
#include "study/make_command.h"

namespace marlin {

std::string CommandText(const std::vector<std::string>& words) {
  std::string text = "metal-marlin";
  for (const std::string& word : words) text += " " + QuoteForShell(OneLine(word));
  return text;
}

std::vector<std::string> LinesThatMake(const Record& record) {
  const MakeCommands made = CommandsThatMake(record, "MODEL");
  std::vector<std::string> lines;
  for (const auto& words : made.lines) lines.push_back(CommandText(words));
  if (lines.empty()) return lines;
  for (const std::string& note : made.notes) lines.push_back("# " + OneLine(note));
  return lines;
}

}  // namespace marlin
