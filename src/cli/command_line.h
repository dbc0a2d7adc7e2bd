// The command line: commands, their options, and the selection made. CLI11 parses it. Only command_line.cc includes
// CLI11, because its header takes longer to compile than a command does.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/console.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace marlin {

// Options that every command has.
struct CommonOptions {
  int threads = 0;  // 0 = all cores this process may use
  bool json = false;
  bool verbose = false;
  bool quiet = false;
};

// Context of a running command.
struct Invocation {
  const CommonOptions& common;
  Console& console;
  std::string command;                  // the command line, for records
  std::vector<std::string> words = {};  // of the command line, without the program
};

using Run = std::function<Status(Invocation&)>;

// Set by the command that was named on the command line; without `run`, help or the version was asked for and printed.
struct Selection {
  CommonOptions common;
  Run run;
};

// An option that was added to a command, for its further rules. Values that break a rule are refused while the command
// line is parsed.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option Required();
  Option OneOf(std::vector<std::string> values);
  // Before OneOf: what is said of a value that is none of them; empty where the list is enough.
  Option Explains(std::function<std::string(const std::string&)> why);
  Option Between(double least, double most);
  Option NotNegative();
  // Names from a list: capitals and spaces around them make no difference.
  Option Names();
  // The name of a file to write. Names of folders are refused.
  Option NamesFile();
  // The name of a new folder. A slash behind it is dropped; "." and ".." are refused.
  Option NamesNewFolder();
  // One word may have several values.
  Option SeparatedByCommas();
  // Each value needs its own option; the next word is something else.
  Option OneWordEach();
  Option Excludes(const Option& other);
  // Has no effect without the other.
  Option Needs(const Option& other);
  // Whether it stood on the command line; known when a verb runs.
  bool IsGiven() const;

 private:
  CLI::Option* option_;
};

// A command, or a group of commands. Values are written when the command line is parsed and must live until then; what
// they hold before is the default that --help shows.
class Verb {
 public:
  Verb(CLI::App* app, Selection* selection) : app_(app), selection_(selection) {}

  // A group, which needs a command after it, and an example that --help shows.
  Verb AddGroup(const std::string& name, const std::string& description, const std::string& example);
  // A command with the common options.
  Verb AddVerb(const std::string& name, const std::string& description, const std::string& example);

  // names: "-s,--samples", or "model" for a word by itself. Empty words are refused: they come from shell variables
  // that are not set.
  Option Add(const std::string& names, std::string& value, const std::string& description);
  Option Add(const std::string& names, int& value, const std::string& description);
  Option Add(const std::string& names, std::size_t& value, const std::string& description);
  Option Add(const std::string& names, std::optional<double>& value, const std::string& description);
  Option Add(const std::string& names, std::vector<std::string>& values, const std::string& description);
  Option Add(const std::string& names, std::vector<std::size_t>& values, const std::string& description);
  Option AddFlag(const std::string& names, bool& value, const std::string& description);
  // Says more at the end of --help.
  void AddFooter(const std::string& text);

  // The function of the command; `chosen` is called first, while the common options may still change.
  void Runs(Run run, std::function<void(CommonOptions&)> chosen = {});

 private:
  CLI::App* app_;
  Selection* selection_;
};

class CommandLine {
 public:
  CommandLine(const std::string& description, const std::string& version, const std::string& footer);
  ~CommandLine();

  Verb root() { return {app_.get(), &selection_}; }

  // Errors: kUsage, with the command or the option that was probably meant.
  Result<Selection> Parse(const std::vector<std::string>& words);

 private:
  std::unique_ptr<CLI::App> app_;
  Selection selection_;
};

// The word, quoted for a shell.
std::string QuoteForShell(const std::string& word);

}  // namespace marlin
