// Each kind of block as HTML, with plain text and with text that tries to be more.
#include "report/html.h"

#include <gtest/gtest.h>

#include "base/test_text.h"

namespace marlin {
namespace {

// Closes elements, attributes and scripts; opens an entity; has two lines.
constexpr const char* kEvilHtml = "</p><script>\"'&lt;\n-->";
constexpr const char* kEvilText = "&#60;/p&#62;&#60;script&#62;&#34;&#39;&#38;lt; --&#62;";

TEST(Html, TextIsOnlyText) {
  EXPECT_EQ(EscapeHtml(kEvilHtml), kEvilText);
  EXPECT_EQ(EscapeHtml("\xe2\x80\xae"
                       "a\xff"),
            "\xef\xbf\xbd"
            "a\xef\xbf\xbd")
      << "an override of direction, and a byte that is no UTF-8";
}

TEST(Html, HeadingsMakeSections) {
  Document x;
  x.AddHeading(1, "a");
  x.AddHeading(2, "b");
  x.AddHeading(3, kEvilHtml);
  x.AddHeading(2, "d");
  EXPECT_EQ(ToHtml(x), std::string("<section><h1>a</h1>\n<section><h2>b</h2>\n<section><h3>") + kEvilText +
                           "</h3>\n</section>\n</section>\n<section><h2>d</h2>\n</section>\n</section>\n");
}

TEST(Html, ParagraphsListsCodeAndFolds) {
  Document inside;
  inside.AddText(kEvilHtml);
  Document x;
  x.AddPieces({"Type ", document::Code(kEvilHtml), "."});
  x.AddList({kEvilHtml});
  x.AddNumbered({"a", "b"});
  x.AddCode({kEvilHtml, "second"});
  x.AddFold(kEvilHtml, inside);
  const std::string evil = kEvilText;
  EXPECT_EQ(ToHtml(x), "<p>Type <code>" + evil + "</code>.</p>\n<ul>\n<li>" + evil +
                           "</li>\n</ul>\n<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n<pre tabindex=\"0\"><code>" + evil +
                           "\nsecond\n</code></pre>\n<details><summary>" + evil + "</summary>\n<p>" + evil +
                           "</p>\n</details>\n");
}

TEST(Html, ATableShowsEveryColumnAndNamesItsRecords) {
  Table table;
  table.columns = {{"Rank"}, {"Config", Align::kLeft}, {"More", Align::kRight, true}, {"Record", Align::kLeft}};
  table.key = 1;
  Cell record = {"0123456789ab", "javascript:alert(1)"};
  record.record = "0123456789abcdef";
  Cell strong = kEvilHtml;
  strong.strong = true;
  table.Add({"1", strong, "2", record});
  Document x;
  x.AddTable(table);
  EXPECT_EQ(
      ToHtml(x),
      std::string("<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\" class=\"n\">Rank</th>"
                  "<th scope=\"col\">Config</th><th scope=\"col\">Record</th>"
                  "<th scope=\"col\" class=\"n\">More</th></tr></thead>\n<tbody>\n"
                  "<tr data-records=\"0123456789ab\"><td class=\"n\">1</td><th scope=\"row\"><strong>") +
          kEvilText +
          "</strong></th><td><a href=\"javascript%3Aalert%281%29\">0123456789ab</a></td><td class=\"n\">2</td>"
          "</tr>\n</tbody></table></div>\n");
}

TEST(Html, APictureIsDrawnByThePage) {
  Document x;
  x.AddPicture({"kl_vs_bpw", "KL", "plots/kl_vs_bpw.png", "plots/kl_vs_bpw.svg"});
  x.AddPicture({"kl_vs_bpw", "KL", "plots/kl_vs_bpw-2.png", "plots/kl_vs_bpw-2.svg"});
  EXPECT_EQ(ToHtml(x), "<figure data-plot=\"kl_vs_bpw\"><figcaption>KL</figcaption></figure>\n")
      << "two pages, one chart";
}

}  // namespace
}  // namespace marlin
