// Options that choose a calibration text, and the check that it is not the text of an evaluation.
#pragma once

#include <cstddef>
#include <string>

#include "cli/verb.h"
#include "io/calibration_text.h"

namespace marlin {

struct CalibrationOptions {
  std::string data;
  std::size_t windows = 0;
  std::size_t ctx = 0;
  bool offline = false;
  bool allow_overlap = false;
};

// data_option: how the verb spells the text, "--data" or "--calibration".
void AddCalibrationOptions(Verb& verb, const std::string& data_option, CalibrationOptions& options);

struct CalibrationInput {
  EvalText text;
  double overlap = 0;        // with the evaluation text it shares most with, 0..1
  std::string overlap_with;  // its name
};

// The text, compared with the evaluation texts that are at hand: WikiText-2 test where it lies on this machine (it is
// not downloaded for this) and the built-in sample. Errors: those of FindCalibrationText; kInput (they share more than
// 1 % and
// --allow-overlap was not given).
Result<CalibrationInput> FindCalibration(const CalibrationOptions& options, Console& console);

// Says it where the text `name` held fewer windows than were asked for.
void WarnOfFewWindows(const CalibrationOptions& options, const std::string& name, std::size_t windows,
                      Console& console);

// "rtn, mse, gptq"
std::string MethodNames();
// The same, and the steps that may come before a method.
std::string RecipeNames();

// That the method uses a calibration text if one was named. Errors: kUsage.
Status CheckMethodUsesText(const std::string& method);

// The same check of overlap against one evaluation text; what they share, 0..1.
Result<double> CheckOverlap(const EvalText& calibration, const EvalText& evaluation, bool allow, Console& console);

}  // namespace marlin
