// Command lines as text that a shell reads.
#pragma once

#include <string>
#include <vector>

#include "records/record.h"

namespace marlin {

// "metal-marlin quantize 'my model'": the words after the program's name. Each is put on one line, then quoted, so that
// nothing in it can become another word.
std::string CommandText(const std::vector<std::string>& words);

// The lines that make the weights of a row, with MODEL for the model, and what they need as comments. Empty for rows
// that this program does not make.
std::vector<std::string> LinesThatMake(const Record& record);

}  // namespace marlin
