// The sections of RESULTS.md, one function each; page.cc puts them in order.
#pragma once

#include <string>
#include <vector>

#include "report/document.h"
#include "report/page.h"
#include "report/table.h"
#include "report/timing_columns.h"

namespace marlin {

Document SummarySection(const Analysis& analysis, const PageOptions& options);
Document ModelsSection(const Analysis& analysis, const PageOptions& options);
// The rows as the tables of a model show them: baselines, rows with the figure, least first, others. Where no row has
// the figure, they are in the order of their ranks.
std::vector<const ResultRow*> SortedRows(const ResultGroup& group, RankOrder wanted);
// What they are sorted and ranked by, a sentence; empty when none is ranked.
std::string SortedBy(const ResultGroup& group, RankOrder wanted);
// Below a group's table: the noise floor, and a remark when a perplexity lies below the baseline's.
Document DivergenceNotes(const ResultGroup& group);
Table DivergenceTable(const ResultGroup& group, const PageOptions& options);   // without rows when no KL is measured
Document KernelTables(const ModelResults& model, const PageOptions& options);  // empty without kernel timings
// Sentences below a table with speeds: which rows were timed interleaved if not all were, and whether other programs
// were running; empty when there is nothing to say.
std::vector<std::string> TimingNotes(const ResultGroup& group, const TimingColumns& timings);
std::string LoadNote(const std::vector<TimedRow>& rows);
// Records of the same rows by other arithmetics, a sentence for each.
std::vector<std::string> ArithmeticNotes(const ResultGroup& group);
// What imported rows are, a plain sentence; empty without one.
std::string ImportedNote(const ResultGroup& group);
Document MixedSection(const Analysis& analysis, const PageOptions& options);
Document CalibrationSection(const Analysis& analysis, const PageOptions& options);
Document PlotsSection(const PageOptions& options);
Document MethodologySection(const Analysis& analysis);
Document HardwareSection(const Analysis& analysis);
Document ConfigurationsSection(const Analysis& analysis);
Document RecordsSection(const Analysis& analysis, const PageOptions& options);

// The record of a line: its short id, linked to its file.
Cell RecordCell(const StoredRecord& stored, const PageOptions& options);

// "WikiText-2 test, protocol ppl-512 v1, all 562 windows of 512 tokens"
std::string DescribeText(const record::Perplexity& measured);

}  // namespace marlin
