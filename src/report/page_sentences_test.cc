// The sentence of a model, worked out from round numbers.
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/test_page.h"

namespace marlin {
namespace {

// A baseline and fp4-g32, which halves the time of a token and raises perplexity by 5 % in every window.
std::vector<StoredRecord> BaseAndRow() {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.resize(2);
  const double nll[] = {std::log(20.0), std::log(21.0)};
  const double ms[] = {10, 5};
  for (std::size_t i = 0; i < 2; ++i) {
    Record& record = records[i].record;
    record.perplexity->window_nll.assign(40, 511 * nll[i]);
    record.throughput->decode->samples_ns.assign(100, ms[i] * 1e6);
  }
  return records;
}

std::string SentenceOf(const std::vector<StoredRecord>& records) {
  const std::string page = PageOf(records);
  const std::size_t start = page.find("\n- SmolLM2-135M-Instruct: ");
  if (start == std::string::npos) return page;
  return page.substr(start + 3, page.find('\n', start + 1) - start - 3);
}

TEST(Sentences, CostSizeAndSpeed) {
  EXPECT_EQ(SentenceOf(BaseAndRow()),
            "SmolLM2-135M-Instruct: fp4-g32 costs 5.00 % perplexity (5.00 to 5.00) at 2.31x smaller; decodes 2.00x "
            "faster than 16 bits (2.00 to 2.00). It runs in this program only. It is ranked by perplexity: not every "
            "row has a KL.");
}

TEST(Sentences, WhatIsNotToldApartIsNoDifference) {
  std::vector<StoredRecord> records = BaseAndRow();
  std::vector<double>& nll = records[1].record.perplexity->window_nll;
  for (std::size_t w = 0; w < nll.size(); ++w) nll[w] = 511 * (std::log(20.0) + (w % 2 == 0 ? 0.01 : -0.01));
  for (StoredRecord& stored : records) {
    std::vector<double>& samples = stored.record.throughput->decode->samples_ns;
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 5.00e6 : 5.02e6;
  }
  const std::string sentence = SentenceOf(records);
  EXPECT_TRUE(Has(sentence, "fp4-g32 shows no measurable difference in perplexity (-")) << sentence;
  EXPECT_TRUE(Has(sentence, "; decode speed shows no measurable difference from 16 bits.")) << sentence;
}

TEST(Sentences, ALowerPerplexityIsNotPraised) {
  std::vector<StoredRecord> records = BaseAndRow();
  records[1].record.perplexity->window_nll.assign(40, 511 * std::log(19.0));
  const std::string sentence = SentenceOf(records);
  EXPECT_TRUE(Has(sentence, "fp4-g32 lowers perplexity by 5.00 % (5.00 to 5.00) at ")) << sentence;
  EXPECT_TRUE(Has(sentence, "A lower perplexity does not mean a better model")) << sentence;
}

TEST(Sentences, ASlowerRowIsCalledSlower) {
  std::vector<StoredRecord> records = BaseAndRow();
  records[1].record.throughput->decode->samples_ns.assign(100, 25e6);
  EXPECT_TRUE(Has(SentenceOf(records), "; decodes 2.50x slower than 16 bits (2.50 to 2.50).")) << SentenceOf(records);
}

TEST(Sentences, NotTimedIsSaid) {
  std::vector<StoredRecord> records = BaseAndRow();
  records[1].record.throughput.reset();
  EXPECT_TRUE(Has(SentenceOf(records), " smaller; not timed.")) << SentenceOf(records);
  EXPECT_FALSE(Has(SentenceOf(records), "faster"));
}

// Two runs, two machines, or one after the other: no ratio.
TEST(Sentences, SpeedsThatWereNotTimedInTurnAreNotCompared) {
  const auto expect_no_ratio = [](const std::vector<StoredRecord>& records) {
    const std::string sentence = SentenceOf(records);
    EXPECT_TRUE(Has(sentence, "; decodes 200 tok/s; 16 bits were not timed in the same run.")) << sentence;
    EXPECT_FALSE(Has(sentence, "faster")) << sentence;
  };
  std::vector<StoredRecord> records = BaseAndRow();
  records[0].record.throughput->run = "aaaa";
  records[1].record.throughput->run = "bbbb";
  expect_no_ratio(records);
  records[1].record.throughput->run = "aaaa";
  EXPECT_TRUE(Has(SentenceOf(records), "2.00x faster"));
  records[1].record.machine.threads = 1;
  expect_no_ratio(records);
  records = BaseAndRow();
  for (StoredRecord& stored : records) stored.record.throughput->interleaved = false;
  expect_no_ratio(records);
  records = BaseAndRow();
  records[0].record.throughput.reset();
  expect_no_ratio(records);
}

TEST(Sentences, UnstableOrBusyTimingsAreSaid) {
  std::vector<StoredRecord> records = BaseAndRow();
  for (StoredRecord& stored : records) stored.record.machine.load_after = 7.9;
  EXPECT_TRUE(Has(SentenceOf(records), "(2.00 to 2.00, while other programs were running)")) << SentenceOf(records);
  records = BaseAndRow();
  std::vector<double>& samples = records[1].record.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 4e6 : 6e6;
  const std::string sentence = SentenceOf(records);
  EXPECT_TRUE(Has(sentence, "; decodes 200 tok/s and 16 bits 100, too unstable to compare.")) << sentence;
}

TEST(Sentences, FewWindowsAreSaid) {
  std::vector<StoredRecord> records = BaseAndRow();
  for (StoredRecord& stored : records) {
    record::Perplexity& x = *stored.record.perplexity;
    x.windows = 4;
    x.window_nll.resize(4);
    x.half.reset();
  }
  EXPECT_TRUE(Has(SentenceOf(records), "(5.00 to 5.00, few windows)")) << SentenceOf(records);
  for (StoredRecord& stored : records) {
    stored.record.perplexity->windows = 1;
    stored.record.perplexity->window_nll.resize(1);
  }
  EXPECT_TRUE(Has(SentenceOf(records), "changes perplexity by +5.00 % (one window, no interval)"))
      << SentenceOf(records);
}

TEST(Sentences, AQuantizedOriginalThatIsSmallerIsNamed) {
  std::vector<StoredRecord> records = BaseAndRow();
  EXPECT_FALSE(Has(SentenceOf(records), "already quantized")) << "as large as 16 bits";
  for (StoredRecord& stored : records) stored.record.model.source_bytes = 96'600'000;
  EXPECT_TRUE(Has(SentenceOf(records),
                  ": the original is already quantized (Q4_1) and smaller, 96.6 MB against 116.4 MB: keep it. "
                  "Best of the rows: "))
      << SentenceOf(records);
}

TEST(Sentences, AModelWithoutABestRowHasNoClaim) {
  std::vector<StoredRecord> records = BaseAndRow();
  records.resize(1);
  EXPECT_EQ(SentenceOf(records), "SmolLM2-135M-Instruct: no row is the best.");
}

}  // namespace
}  // namespace marlin
