// A document as data: blocks in their order, without a markup language. A renderer (markdown.h) writes them and escapes
// every text in its own way, so a text is kept as it is, also when it comes from a stranger's file.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "report/table.h"

namespace marlin {

namespace document {

// A part of a line.
struct Piece {
  Piece(std::string t, bool c = false) : text(std::move(t)), code(c) {}  // NOLINT: text is a piece
  Piece(const char* t) : text(t) {}                                      // NOLINT: text is a piece

  std::string text;
  bool code = false;  // what is typed or read by programs
};

inline Piece Code(std::string text) { return {std::move(text), true}; }

struct Heading {
  int level = 1;  // 1 = the title of the document
  std::string text;
};

struct Paragraph {
  std::vector<Piece> pieces;
};

struct List {
  std::vector<std::string> items;
  bool numbered = false;
};

struct CodeBlock {
  std::vector<std::string> lines;
};

// One picture in two files, named by relative addresses. `name` is that of the plot, for a page that draws it itself.
struct Picture {
  std::string name;
  std::string title;
  std::string png;
  std::string svg;
};

// Blocks that the reader opens by their summary.
struct Fold;

using Block = std::variant<Heading, Paragraph, List, CodeBlock, Table, Picture, Fold>;

}  // namespace document

// A whole document, or a part of one. Each function adds a block at the end; a block with nothing in it is left out.
struct Document {
  std::vector<document::Block> blocks;

  void AddHeading(int level, std::string text);
  void AddText(std::string text);
  void AddPieces(std::vector<document::Piece> pieces);
  void AddList(std::vector<std::string> items);
  void AddNumbered(std::vector<std::string> items);
  void AddCode(std::vector<std::string> lines);
  void AddTable(Table table, std::string caption = {});  // the caption is a paragraph above it
  void AddPicture(document::Picture picture);
  void AddFold(std::string summary, Document content);
  void Append(Document part);
};

struct document::Fold {
  std::string summary;
  Document content;
};

}  // namespace marlin
