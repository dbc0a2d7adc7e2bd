// The command lines that make the weights of a row again, from its record.
#pragma once

#include <string>
#include <vector>

#include "records/record.h"

namespace marlin {

struct MakeCommands {
  std::vector<std::vector<std::string>> lines;  // in this order; the words after the name of the program
  std::vector<std::string> notes;               // sentences: what they need, what they cannot do
  std::string folder;                           // that the last line writes; empty without lines
};

// model: how the command line names the model. Words and notes hold names from the record: the caller makes them safe
// to show. A baseline and another program's file have no commands, but a note.
MakeCommands CommandsThatMake(const Record& record, const std::string& model);

}  // namespace marlin
