#include "cli/calibration.h"

#include <fmt/format.h>

#include <array>

#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "text/text_overlap.h"

namespace marlin {

namespace {

std::string CalibrationHelp() {
  std::string downloaded, local;
  for (const NamedText& source : CalibrationSources()) {
    std::string& names = source.endpoint.empty() ? local : downloaded;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", source.name);
  }
  return fmt::format("a file; {} (downloaded once); or from the folder METAL_MARLIN_DATA, never downloaded: {}",
                     downloaded, local);
}

// The windows and their length.
std::array<Option, 2> AddWindowOptions(Verb& verb, const std::string& data_option, CalibrationOptions& options) {
  options.windows = kCalibrationWindows;
  options.ctx = kCalibrationCtx;
  // Commands that also have windows of evaluation text spell these out.
  const std::string prefix = data_option == "--data" ? "--" : "--calibration-";
  const Option windows =
      verb.Add(prefix + "windows", options.windows, "Windows of calibration text, spread evenly over it")
          .Between(kLeastCalibrationWindows, std::size_t{1} << 20);
  const Option ctx = verb.Add(prefix + "ctx", options.ctx, "Tokens per window of calibration text").Between(4, 131072);
  verb.AddFlag("--allow-overlap", options.allow_overlap,
               "Allow a text that shares more than 1 % of its runs of 13 words with an evaluation text");
  return {windows, ctx};
}

}  // namespace

void AddCalibrationOptions(Verb& verb, const std::string& data_option, CalibrationOptions& options) {
  const Option text = verb.Add(data_option, options.data, "Calibration text: " + CalibrationHelp());
  for (Option option : AddWindowOptions(verb, data_option, options)) option.Needs(text);
}

void AddCalibrationsOptions(Verb& verb, const std::string& data_option, std::vector<std::string>& texts,
                            CalibrationOptions& options) {
  verb.Add(
          data_option, texts,
          "Calibration text: " + CalibrationHelp() + ". May be repeated: each configuration is calibrated on each text")
      .OneWordEach();
  AddWindowOptions(verb, data_option, options);
}

void WarnOfFewWindows(const CalibrationOptions& options, const std::string& name, std::size_t windows,
                      Console& console) {
  if (windows >= options.windows) return;
  console.Warn(fmt::format("{} holds {} of {} tokens, not {}; all of it is used", name, CountText(windows, "window"),
                           options.ctx, options.windows));
}

std::string MethodNames() {
  std::string names;
  for (const Method& method : Methods()) names += fmt::format("{}{}", names.empty() ? "" : ", ", method.name);
  return names;
}

std::string RecipeNames() {
  std::string names = MethodNames();
  for (const Step& step : Steps()) {
    const std::string alone = step.method.empty() ? "" : fmt::format("{} or ", step.name);
    names += fmt::format("; {}{}+METHOD ({})", alone, step.name, step.description);
  }
  return names;
}

Status CheckMethodUsesText(const std::string& method) {
  const auto found = ParseRecipe(method);
  if (!found) return found.error();
  if (found->needs != MethodNeeds::kNothing) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("the method {} uses no calibration; choose --method mse, awq or gptq, or leave the text out",
                           method)};
}

namespace {

Result<double> JudgeOverlap(const std::string& calibration, double overlap, std::string_view evaluation, bool allow,
                            Console& console) {
  if (overlap <= kMaxOverlap) return overlap;
  const std::string what = fmt::format("the calibration text {} shares {:.1f} % of its runs of {} words with {}",
                                       calibration, 100 * overlap, kOverlapWords, evaluation);
  if (allow) {
    console.Warn(what + "; measurements on that text will flatter this model");
    return overlap;
  }
  return Error{ErrorCode::kInput, what +
                                      ": a model must not be measured on its calibration text; use another text, or "
                                      "give --allow-overlap if you will never measure on that one"};
}

}  // namespace

Result<double> CheckOverlap(const EvalText& calibration, const EvalText& evaluation, bool allow, Console& console) {
  return JudgeOverlap(calibration.name, TextOverlap(calibration.text, evaluation.text), evaluation.name, allow,
                      console);
}

Result<CalibrationInput> FindCalibration(const CalibrationOptions& options, Console& console) {
  CalibrationTextOptions find;
  find.data = options.data;
  find.offline = options.offline;
  auto text = FindCalibrationText(find, console.progress());
  if (!text) return text.error();
  CalibrationInput input{std::move(*text), 0, ""};
  const auto note = [&](const Result<double>& overlap, std::string_view with) -> Status {
    if (!overlap) return overlap.error();
    if (*overlap < input.overlap) return {};
    input.overlap = *overlap;
    input.overlap_with = with;
    return {};
  };
  const EvalText sample = BuiltInSample();
  if (auto status = note(CheckOverlap(input.text, sample, options.allow_overlap, console), sample.name); !status) {
    return status.error();
  }
  // WikiText-2 need not be on this machine.
  const double standard = OverlapWithSketch(input.text.text, WikiText2TestSketch());
  if (auto status =
          note(JudgeOverlap(input.text.name, standard, kWikiText2Name, options.allow_overlap, console), kWikiText2Name);
      !status) {
    return status.error();
  }
  return input;
}

}  // namespace marlin
