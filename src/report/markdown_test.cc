// Each kind of block as Markdown, with plain text and with text that tries to be more.
#include "report/markdown.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/test_text.h"
#include "report/test_page.h"

namespace marlin {
namespace {

// Ends a cell, a link, code, a line and a fold; opens HTML; names a person and a formula.
constexpr const char* kEvil = "a|b](x) `c` *d* ~e~\n# <b></details>@f $g$ \\h";
constexpr const char* kEvilLine = R"(a|b\](x) \`c\` \*d\* \~e\~ # &#60;b&#62;&#60;/details&#62;&#64;f &#36;g&#36; \\h)";
constexpr const char* kEvilCell =
    R"(a&#124;b\](x) \`c\` \*d\* \~e\~ # &#60;b&#62;&#60;/details&#62;&#64;f &#36;g&#36; \\h)";

Document OfText(const std::string& text) {
  Document x;
  x.AddText(text);
  return x;
}

TEST(Markdown, BlocksAreSeparatedByAnEmptyLine) {
  Document x;
  x.AddHeading(1, "Title");
  x.AddText("One.");
  Document rest;
  rest.AddText("Two.");
  x.Append(rest);
  EXPECT_EQ(ToMarkdown(x), "# Title\n\nOne.\n\nTwo.\n");
  EXPECT_EQ(ToMarkdown(Document()), "");
}

TEST(Markdown, WhatIsEmptyIsLeftOut) {
  Document x;
  x.AddText("");
  x.AddPieces({});
  x.AddList({});
  x.AddNumbered({});
  x.AddCode({});
  x.AddTable({{{"a"}}, {}}, "a caption");
  x.AddFold("a summary", {});
  EXPECT_TRUE(x.blocks.empty());
}

TEST(Markdown, Heading) {
  Document x;
  x.AddHeading(3, kEvil);
  EXPECT_EQ(ToMarkdown(x), std::string("### ") + kEvilLine + "\n");
}

TEST(Markdown, Paragraph) {
  EXPECT_EQ(ToMarkdown(OfText(kEvil)), std::string(kEvilLine) + "\n");
  EXPECT_EQ(ToMarkdown(OfText("KL(a || b) of tok_s [95 %]")), "KL(a || b) of tok_s [95 %]\n") << "only text";
}

// No text makes a heading, a list, code or a definition of links of its paragraph.
TEST(Markdown, AParagraphStaysOne) {
  const char* const kStarts[][2] = {{"# a", "\\# a"},     {"  # a", "\\# a"},         {"- a", "\\- a"},
                                    {"---", "\\---"},     {"+ a", "\\+ a"},           {"\t\tcode", "code"},
                                    {"1. a", "1\\. a"},   {"23) a", "23\\) a"},       {"4.", "4\\."},
                                    {"4.5 MB", "4.5 MB"}, {"15/100: a", "15/100: a"}, {"[95 %]: x", "\\[95 %]: x"},
                                    {"> a", "&#62; a"},   {"_a_ b_c", "\\_a\\_ b_c"}};
  for (const auto& [text, markdown] : kStarts) {
    EXPECT_EQ(ToMarkdown(OfText(text)), std::string(markdown) + "\n");
    Document list;
    list.AddList({text});
    EXPECT_EQ(ToMarkdown(list), std::string("- ") + markdown + "\n");
  }
}

TEST(Markdown, Pieces) {
  Document x;
  x.AddPieces({"Run ", document::Code("a `b` _c_\n<d>"), " now_."});
  x.AddPieces({document::Code("a"), " and ", document::Code("")});
  x.AddPieces({"[a]", "(b)"});
  EXPECT_EQ(ToMarkdown(x), "Run `` a `b` _c_ <d> `` now\\_.\n\n`a` and \n\n\\[a\\](b)\n");
}

TEST(Markdown, Lists) {
  Document x;
  x.AddList({"one", kEvil});
  x.AddNumbered({"one", "two"});
  EXPECT_EQ(ToMarkdown(x), std::string("- one\n- ") + kEvilLine + "\n\n1. one\n2. two\n");
}

TEST(Markdown, CodeBlock) {
  Document x;
  x.AddCode({"a <b> \\c", "d"});
  x.AddCode({"a\n```\n# b", "````"});
  EXPECT_EQ(ToMarkdown(x), "```\na <b> \\c\nd\n```\n\n`````\na ``` # b\n````\n`````\n");
}

TEST(Markdown, TableAndItsCaption) {
  Table table{{{"Name", Align::kLeft}, {"a|b"}}, {}};
  Cell strong("x_");
  strong.strong = true;
  table.Add({strong, Cell("y]|[z", "a b|c).json")});
  table.Add({"#", kEvil});
  Document x;
  x.AddTable(table, "- a caption");
  EXPECT_EQ(ToMarkdown(x), std::string("\\- a caption\n\n| Name | a&#124;b |\n| --- | ---: |\n"
                                       "| **x\\_** | [y\\]&#124;\\[z](a%20b%7Cc%29.json) |\n| \\# | ") +
                               kEvilCell + " |\n");
}

Table WideTable(std::size_t shown, std::size_t detail, std::size_t key) {
  Table table;
  std::vector<Cell> row;
  for (std::size_t i = 0; i < shown + detail; ++i) {
    table.columns.push_back({std::to_string(i), Align::kLeft, i >= shown});
    row.emplace_back("x" + std::to_string(i));
  }
  table.key = key;
  table.Add(row);
  return table;
}

// Detail columns stand in a fold, beside the column that names the row.
TEST(Markdown, DetailColumnsFollowInAFold) {
  Document x;
  x.AddTable(WideTable(3, 2, 1));
  EXPECT_EQ(ToMarkdown(x),
            "| 0 | 1 | 2 |\n| --- | --- | --- |\n| x0 | x1 | x2 |\n\n"
            "<details><summary>More columns of these rows</summary>\n\n"
            "| 1 | 3 | 4 |\n| --- | --- | --- |\n| x1 | x3 | x4 |\n\n</details>\n");
  EXPECT_EQ(Count(ToMarkdown(WideTable(3, 2, 1)), "| 0 | 1 | 2 | 3 | 4 |"), 1) << "a table by itself is whole";
}

TEST(Markdown, InsideAFoldDetailColumnsFollowDirectly) {
  Document inside;
  inside.AddTable(WideTable(2, 1, 0));
  Document x;
  x.AddFold("a", inside);
  EXPECT_EQ(ToMarkdown(x),
            "<details><summary>a</summary>\n\n| 0 | 1 |\n| --- | --- |\n| x0 | x1 |\n\n"
            "| 0 | 2 |\n| --- | --- |\n| x0 | x2 |\n\n</details>\n");
}

// Whatever the columns are: at most seven in a table, the key in each, every other column once.
TEST(Markdown, NoTableOfADocumentIsWide) {
  for (std::size_t shown = 1; shown <= 16; ++shown) {
    for (std::size_t detail = 0; detail <= 20; ++detail) {
      for (const std::size_t key : {std::size_t{0}, shown / 2, shown - 1, shown + detail - 1}) {
        Document x;
        x.AddTable(WideTable(shown, detail, key));
        std::multiset<std::string> titles;
        const std::vector<test::MarkdownTable> tables = test::TablesOf(ToMarkdown(x));
        for (const test::MarkdownTable& table : tables) {
          EXPECT_LE(table[0].size(), 7u) << shown << " " << detail << " " << key;
          titles.insert(table[0].begin(), table[0].end());
        }
        for (std::size_t i = 0; i < shown + detail; ++i) {
          EXPECT_EQ(titles.count(std::to_string(i)), i == key ? tables.size() : 1u)
              << shown << " " << detail << " " << i;
        }
      }
    }
  }
}

TEST(Markdown, Picture) {
  Document x;
  x.AddPicture({"plot", "A ]( plot", "plots/a_b.png", "javascript:x"});
  EXPECT_EQ(ToMarkdown(x), "![A \\]( plot](plots/a_b.png)\n\n[as SVG](javascript%3Ax)\n");
}

TEST(Markdown, Fold) {
  Document inside;
  inside.AddText("</details>");
  Document x;
  x.AddFold("the model's </summary> *a*", inside);
  EXPECT_EQ(ToMarkdown(x),
            "<details><summary>the model's &#60;/summary&#62; *a*</summary>\n\n&#60;/details&#62;\n\n</details>\n");
}

// In every kind of block.
TEST(Markdown, CharactersThatAreNotSeenBecomeAMark) {
  const std::string unseen = "\x1b\xe2\x80\xae\xff";
  Document x;
  x.AddHeading(2, unseen);
  x.AddPieces({unseen, document::Code(unseen)});
  x.AddList({unseen});
  x.AddCode({unseen});
  x.AddTable({{{unseen}}, {{Cell(unseen, unseen)}}}, unseen);
  x.AddPicture({unseen, unseen, unseen, unseen});
  x.AddFold(unseen, OfText(unseen));
  const std::string markdown = ToMarkdown(x);
  for (const char* bytes : {"\x1b", "\xe2\x80\xae", "\xff"}) EXPECT_FALSE(Has(markdown, bytes)) << markdown;
  EXPECT_EQ(Count(markdown, "\xef\xbf\xbd\xef\xbf\xbd"), 11) << markdown;
}

}  // namespace
}  // namespace marlin
