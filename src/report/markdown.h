// Documents as Markdown, in GitHub's dialect. Only this file and markdown.cc know its syntax and its escaping.
#pragma once

#include <string>

#include "report/document.h"
#include "report/table.h"

namespace marlin {

// Ends with a line end. No text can become more than text: neither Markdown nor HTML.
std::string ToMarkdown(const Document& document);
std::string ToMarkdown(const Table& table);

}  // namespace marlin
