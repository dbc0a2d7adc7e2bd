#include "report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <variant>
#include <vector>

#include "report/figures.h"

namespace marlin {
namespace {

std::string CellHtml(const Cell& cell) {
  std::string text = EscapeHtml(cell.text);
  if (!cell.link.empty()) text = fmt::format("<a href=\"{}\">{}</a>", RelativeAddress(cell.link), text);
  return cell.strong ? "<strong>" + text + "</strong>" : text;
}

// The records of a row, each once.
std::string RecordIds(const std::vector<Cell>& row) {
  std::string ids;
  for (const Cell& cell : row) {
    const std::string id = ShortHash(cell.record);
    if (id.empty() || ids.find(id) != std::string::npos) continue;
    ids += (ids.empty() ? "" : " ") + id;
  }
  return ids.empty() ? "" : fmt::format(" data-records=\"{}\"", EscapeHtml(ids));
}

// The order in which columns are shown: details behind the others.
std::vector<std::size_t> ShownOrder(const Table& table) {
  std::vector<std::size_t> order(table.columns.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_partition(order, [&](std::size_t i) { return i == table.key || !table.columns[i].detail; });
  return order;
}

std::string TableHtml(const Table& table) {
  const auto align = [](const Column& column) { return column.align == Align::kRight ? " class=\"n\"" : ""; };
  const std::vector<std::size_t> order = ShownOrder(table);
  std::string out = "<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr>";
  for (const std::size_t i : order) {
    const Column& column = table.columns[i];
    out += fmt::format("<th scope=\"col\"{}>{}</th>", align(column), EscapeHtml(column.title));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const std::vector<Cell>& row : table.rows) {
    out += fmt::format("<tr{}>", RecordIds(row));
    for (const std::size_t i : order) {
      out += i == table.key ? fmt::format("<th scope=\"row\"{}>{}</th>", align(table.columns[i]), CellHtml(row[i]))
                            : fmt::format("<td{}>{}</td>", align(table.columns[i]), CellHtml(row[i]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string LineHtml(const std::vector<document::Piece>& pieces) {
  std::string out;
  for (const document::Piece& piece : pieces) {
    out += piece.code ? "<code>" + EscapeHtml(piece.text) + "</code>" : EscapeHtml(piece.text);
  }
  return out;
}

// Blocks in their order; sections are open from a heading to the next one that is not below it.
class HtmlWriter {
 public:
  std::string Write(const Document& document) {
    for (const document::Block& block : document.blocks) {
      std::visit([this](const auto& x) { Add(x); }, block);
    }
    CloseSections(0);
    return std::move(out_);
  }

 private:
  void Add(const document::Heading& x) {
    CloseSections(x.level);
    open_.push_back(x.level);
    out_ += fmt::format("<section><h{0}>{1}</h{0}>\n", x.level, EscapeHtml(x.text));
  }

  void Add(const document::Paragraph& x) { out_ += "<p>" + LineHtml(x.pieces) + "</p>\n"; }

  void Add(const document::List& x) {
    const char* const tag = x.numbered ? "ol" : "ul";
    out_ += fmt::format("<{}>\n", tag);
    for (const std::string& item : x.items) out_ += "<li>" + EscapeHtml(item) + "</li>\n";
    out_ += fmt::format("</{}>\n", tag);
  }

  void Add(const document::CodeBlock& x) {
    out_ += "<pre tabindex=\"0\"><code>";
    for (const std::string& line : x.lines) out_ += EscapeHtml(line) + "\n";
    out_ += "</code></pre>\n";
  }

  void Add(const Table& x) { out_ += TableHtml(x); }

  // Further pages of a picture are for formats that cannot scroll.
  void Add(const document::Picture& x) {
    const std::string figure = fmt::format("<figure data-plot=\"{}\">", EscapeHtml(x.name));
    if (out_.find(figure) != std::string::npos) return;
    out_ += fmt::format("{}<figcaption>{}</figcaption></figure>\n", figure, EscapeHtml(x.title));
  }

  void Add(const document::Fold& x) {
    out_ += fmt::format("<details><summary>{}</summary>\n{}</details>\n", EscapeHtml(x.summary), ToHtml(x.content));
  }

  // Those of this level and below it.
  void CloseSections(int level) {
    for (; !open_.empty() && open_.back() >= level; open_.pop_back()) out_ += "</section>\n";
  }

  std::string out_;
  std::vector<int> open_;
};

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : OneLine(text)) {
    if (std::string_view("&<>\"'").find(c) == std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("&#{};", static_cast<int>(c));
    }
  }
  return out;
}

std::string ToHtml(const Document& document) { return HtmlWriter().Write(document); }

}  // namespace marlin
