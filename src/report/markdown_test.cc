// Each kind of block as Markdown, with plain text and with text that tries to be more.
#include "report/markdown.h"

#include <gtest/gtest.h>

#include "base/test_text.h"

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

TEST(Markdown, Picture) {
  Document x;
  x.AddPicture({"A ]( plot", "plots/a_b.png", "javascript:x"});
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
  x.AddPicture({unseen, unseen, unseen});
  x.AddFold(unseen, OfText(unseen));
  const std::string markdown = ToMarkdown(x);
  for (const char* bytes : {"\x1b", "\xe2\x80\xae", "\xff"}) EXPECT_FALSE(Has(markdown, bytes)) << markdown;
  EXPECT_EQ(Count(markdown, "\xef\xbf\xbd\xef\xbf\xbd"), 11) << markdown;
}

}  // namespace
}  // namespace marlin
