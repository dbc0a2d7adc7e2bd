#include "report/document.h"

#include <iterator>
#include <utility>

namespace marlin {

void Document::AddHeading(int level, std::string text) {
  blocks.emplace_back(document::Heading{level, std::move(text)});
}

void Document::AddText(std::string text) {
  if (!text.empty()) AddPieces({std::move(text)});
}

void Document::AddPieces(std::vector<document::Piece> pieces) {
  if (!pieces.empty()) blocks.emplace_back(document::Paragraph{std::move(pieces)});
}

void Document::AddList(std::vector<std::string> items) {
  if (!items.empty()) blocks.emplace_back(document::List{std::move(items)});
}

void Document::AddNumbered(std::vector<std::string> items) {
  if (!items.empty()) blocks.emplace_back(document::List{std::move(items), true});
}

void Document::AddCode(std::vector<std::string> lines) {
  if (!lines.empty()) blocks.emplace_back(document::CodeBlock{std::move(lines)});
}

void Document::AddTable(Table table, std::string caption) {
  if (table.rows.empty()) return;
  AddText(std::move(caption));
  blocks.emplace_back(std::move(table));
}

void Document::AddPicture(document::Picture picture) { blocks.emplace_back(std::move(picture)); }

void Document::AddFold(std::string summary, Document content) {
  if (!content.blocks.empty()) blocks.emplace_back(document::Fold{std::move(summary), std::move(content)});
}

void Document::Append(Document part) {
  blocks.insert(blocks.end(), std::make_move_iterator(part.blocks.begin()), std::make_move_iterator(part.blocks.end()));
}

}  // namespace marlin
