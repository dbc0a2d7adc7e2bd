// The sections of RESULTS.md, one function each; page.cc puts them in order.
#pragma once

#include <string>
#include <vector>

#include "report/document.h"
#include "report/page.h"
#include "report/table.h"
#include "report/timing_columns.h"

namespace marlin {

// What the page's words mean: its figures, formats and methods.
Document WordsFold(const Analysis& analysis, const PageOptions& options);
Document SummarySection(const Analysis& analysis, const PageOptions& options);
Document ModelsSection(const Analysis& analysis, const PageOptions& options);
// The rows as the tables of a model show them: baselines, rows with the figure, least first, others. Where no row has
// the figure, they are in the order of their ranks.
std::vector<const ResultRow*> SortedRows(const ResultGroup& group, RankOrder wanted);
// What they are sorted and ranked by, a sentence; empty when none is ranked.
std::string SortedBy(const ResultGroup& group, RankOrder wanted);
// The best row of a group in plain sentences, from measured figures alone: what it costs, how much smaller and how much
// faster it is. Speeds are compared only where both rows were timed interleaved.
std::string ModelSentence(const ModelResults& model, const ResultGroup& group);
// The same of any row, as a part of a sentence: "int4-g64 costs 0.40 % perplexity (0.31 to 0.52) at 2.70x smaller;
// decodes 1.60x faster than 16 bits (1.58 to 1.62)".
std::string RowClause(const ResultGroup& group, const ResultRow& row);
// What the reader of a group's table has to know: perplexities below the baseline's; empty when there are none.
std::string BelowBaselineWarning(const ResultGroup& group);
// What the reader may want to know: their names where they are many, and the noise floor.
std::vector<std::string> DivergenceNotes(const ResultGroup& group);
Table DivergenceTable(const ResultGroup& group, const PageOptions& options);   // without rows when no KL is measured
Document KernelTables(const ModelResults& model, const PageOptions& options);  // empty without kernel timings
// Tables that the reader opens: divergence, sizes, timings.
Document GroupFolds(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options);
// Sentences below a table with speeds: whether all rows were timed interleaved, and whether other programs were
// running; empty when there is nothing to say.
std::vector<std::string> TimingWarnings(const ResultGroup& group, const TimingColumns& timings);
// Which rows were timed interleaved if not all were.
std::vector<std::string> TimingNotes(const ResultGroup& group, const TimingColumns& timings);
std::string LoadNote(const std::vector<TimedRow>& rows);
// Records of the same rows by other arithmetics, a paragraph for each.
std::vector<std::string> ArithmeticNotes(const ResultGroup& group);
// What imported rows are, a plain sentence; empty without one.
std::string ImportedNote(const ResultGroup& group);
// What other programs measured; empty without such records.
Document ExternalSection(const PageOptions& options);
Document MixedSection(const Analysis& analysis, const PageOptions& options);
Document CalibrationSection(const Analysis& analysis, const PageOptions& options);
Document PlotsSection(const PageOptions& options);
Document MethodologySection(const Analysis& analysis);
Document HardwareSection(const Analysis& analysis);
Document ConfigurationsSection(const Analysis& analysis);
Document RecordsSection(const Analysis& analysis, const PageOptions& options);

inline constexpr bool kDetail = true;  // Column::detail

// A text that links to the record of its line, or of a part of it.
Cell RecordCell(std::string text, const StoredRecord& stored, const PageOptions& options);
std::string MarkedName(const ResultRow& row);  // with MarksOf

// "WikiText-2 test, protocol ppl-512 v1, all 562 windows of 512 tokens"
// total_known: with the number of all windows, which depends on the tokenizer.
std::string DescribeText(const record::Perplexity& measured, bool total_known = true);

}  // namespace marlin
