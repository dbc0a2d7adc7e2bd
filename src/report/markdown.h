// Documents as Markdown, in GitHub's dialect. Only this file and markdown.cc know its syntax and its escaping.
#pragma once

#include <cstddef>
#include <string>

#include "report/document.h"
#include "report/table.h"

namespace marlin {

// A table of a document has no more columns, so that it fits beside GitHub's margins. The others, and those of detail,
// follow in further tables that begin with the key column: in a fold, or directly below inside one.
inline constexpr std::size_t kMarkdownColumns = 7;

// Ends with a line end. No text can become more than text: neither Markdown nor HTML.
std::string ToMarkdown(const Document& document);
std::string ToMarkdown(const Table& table);  // all its columns in one table

}  // namespace marlin
