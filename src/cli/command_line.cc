#include "cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "base/did_you_mean.h"
#include "base/file.h"

namespace marlin {
namespace {

constexpr const char* kProgram = "metal-marlin";

std::vector<std::string> VerbNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(verb->get_name());
  }
  return names;
}

bool HasVerbs(const CLI::App& app) { return !VerbNames(app).empty(); }

// "--samples" of every option that has such a name.
std::vector<std::string> LongNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// "eval perplexity"; of the program itself, whose name begins every message, its name.
std::string NameOf(const CLI::App& app) {
  const bool below_root = app.get_parent() != nullptr && app.get_parent()->get_parent() != nullptr;
  return below_root ? NameOf(*app.get_parent()) + " " + app.get_name() : app.get_name();
}

std::string SeeHelp(const CLI::App& app) {
  const bool is_root = app.get_parent() == nullptr;
  return fmt::format("; see `{}{} --help`", kProgram, is_root ? "" : " " + NameOf(app));
}

// Checks the first words, which name a command and, for some, a subcommand. The parser handles options and missing
// commands.
Status CheckVerbs(const CLI::App& root, const std::vector<std::string>& words) {
  const CLI::App* parent = &root;
  for (const std::string& word : words) {
    if (word.starts_with('-') || !HasVerbs(*parent)) return {};
    const std::vector<std::string> verbs = VerbNames(*parent);
    if (std::ranges::find(verbs, word) == verbs.end()) {
      std::vector<std::string> known = LongNames(*parent);
      known.insert(known.end(), verbs.begin(), verbs.end());
      return Error{ErrorCode::kUsage, fmt::format("{} no command \"{}\"{} Commands: {}",
                                                  parent == &root ? "there is" : parent->get_name() + " has", word,
                                                  DidYouMean(word, known), fmt::join(verbs, ", "))};
    }
    parent = parent->get_subcommand(word);
  }
  return {};
}

// The selected command.
const CLI::App& Reached(const CLI::App& root) {
  const CLI::App* app = &root;
  for (auto below = app->get_subcommands(); !below.empty(); below = app->get_subcommands()) app = below.front();
  return *app;
}

// The message about a word that no command takes; empty if there is none.
std::string OfUnknownWord(const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining();
  if (unknown.empty()) return "";
  const auto found = std::ranges::find_if(unknown, [](const std::string& word) { return word.starts_with('-'); });
  if (found == unknown.end()) {
    const std::string word = QuoteForShell(unknown.front());
    const std::vector<std::string> names = LongNames(app);
    const bool model = std::ranges::find(names, "--model") != names.end();
    return fmt::format("{} does not take the argument {}{}", NameOf(app), word,
                       model ? fmt::format("; did you mean --model {}?", word) : "");
  }
  const std::string name = found->substr(0, found->find('='));
  std::string guess = DidYouMean(name, LongNames(app));
  if (guess == ".") guess.clear();
  if (guess.empty() && HasVerbs(app)) {
    return fmt::format("{} is given before a command; options follow their command", *found);
  }
  return fmt::format("{} has no option {}{}", NameOf(app), name, guess);
}

// The message about an option that is given twice but takes one value; empty if there is none.
std::string OfRepeatedOption(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() != 1 || option->count() < 2) continue;
    return fmt::format("{} is given {} times but takes one value", option->get_name(), option->count());
  }
  return "";
}

// A misspelt option is reported first, even if something else is missing because of it.
Error ErrorOf(const CLI::ParseError& error, const CLI::App& root) {
  const CLI::App& verb = Reached(root);
  for (const CLI::App* app = &verb; app != nullptr; app = app->get_parent()) {
    const std::string unknown = OfUnknownWord(*app);
    if (!unknown.empty()) return Error{ErrorCode::kUsage, unknown + (unknown.ends_with('?') ? "" : SeeHelp(*app))};
  }
  if (HasVerbs(verb)) {
    return Error{ErrorCode::kUsage, fmt::format("a command is missing after {}: {}{}", NameOf(verb),
                                                fmt::join(VerbNames(verb), ", "), SeeHelp(verb))};
  }
  const std::string text = error.what();
  const std::string repeated = OfRepeatedOption(verb);
  if (!repeated.empty()) return Error{ErrorCode::kUsage, repeated + SeeHelp(verb)};
  if (error.get_name() == "ArgumentMismatch") {
    return Error{ErrorCode::kUsage, text.substr(0, text.find(':')) + " needs a value" + SeeHelp(verb)};
  }
  return Error{ErrorCode::kUsage, text + SeeHelp(verb)};
}

// Integers and fractions; the kind that an option takes is checked when it is read.
std::optional<double> NumberOf(const std::string& word) {
  double number = 0;
  const auto end = word.data() + word.size();
  const auto [rest, code] = std::from_chars(word.data(), end, number);
  if (code != std::errc{} || rest != end || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::string ExampleText(const std::string& example) { return "Example:\n  " + example; }

std::string NotANumber(const std::string& word) { return QuoteForShell(word) + " is not a number"; }

// Why the word is not an integer; empty if it is one.
std::string CheckInteger(const std::string& word) {
  const std::optional<double> number = NumberOf(word);
  if (!number) return NotANumber(word);
  return *number == std::floor(*number) ? "" : word + " is not an integer";
}

// Why an option cannot have this word; empty where it can.
std::string CheckNotEmpty(const std::string& word) {
  return word.find_first_not_of(' ') == std::string::npos ? "the value is empty" : "";
}

CLI::Option* NotEmpty(CLI::Option* option) { return option->check(CheckNotEmpty, ""); }

std::string LowerCaseName(std::string word) {
  word.erase(0, word.find_first_not_of(' '));
  word.erase(word.find_last_not_of(' ') + 1);
  for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return word;
}

template <class T>
CLI::Option* AddIntegerTo(CLI::App& app, const std::string& names, T& value, const std::string& description) {
  return app.add_option(names, value, description)->check(CheckInteger, "");
}

}  // namespace

Option Option::Required() {
  option_->required();
  return *this;
}

Option Option::OneOf(std::vector<std::string> values) {
  option_->check(CLI::IsMember(std::move(values)));
  return *this;
}

Option Option::Explains(std::function<std::string(const std::string&)> why) {
  option_->check(std::move(why), "");
  return *this;
}

Option Option::Between(double least, double most) {
  option_->check(
      [least, most](const std::string& word) -> std::string {
        const std::optional<double> number = NumberOf(word);
        if (!number) return NotANumber(word);
        return *number >= least && *number <= most ? "" : fmt::format("{} is not between {} and {}", word, least, most);
      },
      fmt::format("{} to {}", least, most));
  return *this;
}

Option Option::NotNegative() {
  option_->check(
      [](const std::string& word) -> std::string {
        const std::optional<double> number = NumberOf(word);
        if (!number) return NotANumber(word);
        return *number >= 0 ? "" : word + " is below 0";
      },
      "from 0");
  return *this;
}

Option Option::Names() {
  option_->transform([](const std::string& word) { return LowerCaseName(word); }, "");
  return *this;
}

Option Option::NamesFile() {
  option_->check(
      [](const std::string& word) -> std::string {
        const std::filesystem::path path = word;
        const bool folder = !path.has_filename() || path.filename() == "." || path.filename() == "..";
        return folder ? QuoteForShell(word) + " names a folder; name a file" : "";
      },
      "");
  return *this;
}

Option Option::NamesNewFolder() {
  option_->transform(CLI::Validator(
      [](std::string& word) -> std::string {
        const auto name = NameOfNewFolder(word);
        if (!name) return name.error().message;
        word = name->string();
        return "";
      },
      ""));
  return *this;
}

Option Option::SeparatedByCommas() {
  option_->delimiter(',');
  return *this;
}

Option Option::OneWordEach() {
  option_->allow_extra_args(false);
  return *this;
}

Option Option::Excludes(const Option& other) {
  option_->excludes(other.option_);
  return *this;
}

Option Option::Needs(const Option& other) {
  option_->needs(other.option_);
  return *this;
}

bool Option::IsGiven() const { return option_->count() > 0; }

Verb Verb::AddGroup(const std::string& name, const std::string& description, const std::string& example) {
  CLI::App* app = app_->add_subcommand(name, description);
  app->footer(ExampleText(example));
  app->require_subcommand(1);
  return {app, selection_};
}

Verb Verb::AddVerb(const std::string& name, const std::string& description, const std::string& example) {
  CLI::App* app = app_->add_subcommand(name, description);
  app->option_defaults()->always_capture_default();  // --help shows them
  app->footer(ExampleText(example));
  Verb verb(app, selection_);
  CommonOptions& common = selection_->common;
  verb.Add("-t,--threads", common.threads, "Threads; 0 = every core this process may use").Between(0, 1024);
  verb.AddFlag("--json", common.json, "Data as JSON on stdout; progress stays on stderr");
  const Option verbose = verb.AddFlag("-v,--verbose", common.verbose, "Print more");
  verb.AddFlag("-q,--quiet", common.quiet, "Print only results, warnings and errors").Excludes(verbose);
  return verb;
}

Option Verb::Add(const std::string& names, std::string& value, const std::string& description) {
  return Option(NotEmpty(app_->add_option(names, value, description)));
}

Option Verb::Add(const std::string& names, int& value, const std::string& description) {
  return Option(AddIntegerTo(*app_, names, value, description));
}

Option Verb::Add(const std::string& names, std::size_t& value, const std::string& description) {
  return Option(AddIntegerTo(*app_, names, value, description));
}

Option Verb::Add(const std::string& names, std::optional<double>& value, const std::string& description) {
  return Option(app_->add_option_function<double>(
      names, [&value](const double& given) { value = given; }, description));
}

Option Verb::Add(const std::string& names, std::vector<std::string>& values, const std::string& description) {
  return Option(NotEmpty(app_->add_option(names, values, description)));
}

Option Verb::Add(const std::string& names, std::vector<std::size_t>& values, const std::string& description) {
  return Option(AddIntegerTo(*app_, names, values, description));
}

Option Verb::AddFlag(const std::string& names, bool& value, const std::string& description) {
  return Option(app_->add_flag(names, value, description));
}

void Verb::AddFooter(const std::string& text) { app_->footer(app_->get_footer() + text); }

void Verb::Runs(Run run, std::function<void(CommonOptions&)> chosen) {
  app_->callback([selection = selection_, run = std::move(run), chosen = std::move(chosen)] {
    if (chosen) chosen(selection->common);
    selection->run = run;
  });
}

CommandLine::CommandLine(const std::string& description, const std::string& version, const std::string& footer)
    : app_(std::make_unique<CLI::App>(description, kProgram)) {
  app_->set_version_flag("--version", version);
  app_->require_subcommand(1);
  app_->footer(footer);
}

CommandLine::~CommandLine() = default;

Result<Selection> CommandLine::Parse(const std::vector<std::string>& words) {
  if (const Status verbs = CheckVerbs(*app_, words); !verbs.ok()) return verbs.error();
  try {
    app_->parse(std::vector<std::string>(words.rbegin(), words.rend()));  // from the last to the first
  } catch (const CLI::Success& asked) {
    app_->exit(asked);
    return Selection{};
  } catch (const CLI::ParseError& error) {
    return ErrorOf(error, *app_);
  }
  return selection_;
}

std::string QuoteForShell(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_of(" \t\n\"'\\$`|&;<>()*?#~![]{}") == std::string::npos;
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace marlin
