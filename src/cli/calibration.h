// Options that choose a calibration text, and the check that it does not overlap an evaluation text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "study/calibration_text.h"

namespace marlin {

struct CalibrationOptions {
  std::string data;
  std::size_t windows = 0;
  std::size_t ctx = 0;
  bool offline = false;
  bool allow_overlap = false;
};

// data_option: how the command spells the text, "--data" or "--calibration".
void AddCalibrationOptions(Verb& verb, const std::string& data_option, CalibrationOptions& options);
// The same for a command that takes several texts, which become `texts`; it checks itself that the options of windows
// have a text.
void AddCalibrationsOptions(Verb& verb, const std::string& data_option, std::vector<std::string>& texts,
                            CalibrationOptions& options);

struct CalibrationInput {
  EvalText text;
  double overlap = 0;        // with the evaluation text it shares most with, 0..1
  std::string overlap_with;  // its name
};

// The text, compared with the evaluation texts: the built-in sample, and WikiText-2 test by its sketch
// (text_overlap.h), so that text need not be on this machine. Errors: those of FindCalibrationText; kInput (they share
// more than 1 % and --allow-overlap was not given).
Result<CalibrationInput> FindCalibration(const CalibrationOptions& options, Console& console);

// Warns if the text `name` has fewer windows than requested.
void WarnOfFewWindows(const CalibrationOptions& options, const std::string& name, std::size_t windows,
                      Console& console);

// "rtn, mse, gptq"
std::string MethodNames();
// The same, and the steps that may come before a method.
std::string RecipeNames();

// Checks that the method uses the calibration text given. Errors: kUsage.
Status CheckMethodUsesText(const std::string& method);

// The same check of overlap against one evaluation text; what they share, 0..1.
Result<double> CheckOverlap(const EvalText& calibration, const EvalText& evaluation, bool allow, Console& console);

}  // namespace marlin
