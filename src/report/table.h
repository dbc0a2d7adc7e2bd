// A table of plain text, its output for the terminal, and what makes a text safe there and elsewhere.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

enum class Align { kLeft, kRight };

struct Cell {
  Cell(std::string t = {}) : text(std::move(t)) {}  // NOLINT: text is a cell
  Cell(const char* t) : text(t) {}                  // NOLINT: text is a cell
  Cell(std::string t, std::string l) : text(std::move(t)), link(std::move(l)) {}

  std::string text;    // as it is; escaped when shown
  std::string link;    // a relative address, "" = none
  std::string record;  // id of the record that the row comes from, "" = none is named here
  bool strong = false;
};

struct Column {
  std::string title;
  Align align = Align::kRight;
  bool detail = false;  // a page without room shows it apart from the others, beside the key column
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // as many cells as columns each
  std::size_t key = 0;                  // the column that names the row

  void Add(std::vector<Cell> row);
};

std::string ToPlainText(const Table& table);

// Control characters, line ends among them, become spaces. Characters that change the direction of a text or have no
// width, and bytes that are no UTF-8, become U+FFFD.
std::string OneLine(std::string_view text);

// A relative path as an address: whatever is no letter, digit or one of /._-~ as %XX. So no path becomes a scheme.
std::string RelativeAddress(std::string_view path);

}  // namespace marlin
