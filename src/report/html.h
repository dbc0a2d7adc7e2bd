// Documents as HTML. Only this file and html.cc know its syntax and its escaping.
#pragma once

#include <string>
#include <string_view>

#include "report/document.h"

namespace marlin {

// Text inside an element or a quoted attribute, on one line.
std::string EscapeHtml(std::string_view text);

// The elements of the document, without a head. No text can become more than text. A heading opens a <section>, which
// ends before the next heading of the same or a higher level. A table shows all of its columns, details behind the
// others; a row whose cells name records lists them in data-records, by their first 12 digits. A picture becomes a
// <figure data-plot="NAME"> without an image: scripts of the page draw it.
std::string ToHtml(const Document& document);

}  // namespace marlin
