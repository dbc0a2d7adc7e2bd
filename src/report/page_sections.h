// The sections of RESULTS.md, one function each; page.cc puts them in order. Each ends with a newline.
#pragma once

#include <string>

#include "report/page.h"
#include "report/table.h"

namespace marlin {

std::string SummarySection(const Analysis& analysis, const PageOptions& options);
std::string ModelsSection(const Analysis& analysis, const PageOptions& options);
// What the rows of a group are sorted by, a sentence; empty when none is ranked.
std::string SortedBy(const ResultGroup& group);
// Below a group's table: the noise floor, and a remark when a perplexity lies below the baseline's. Empty, or lines.
std::string DivergenceNotes(const ResultGroup& group);
Table DivergenceTable(const ResultGroup& group, const PageOptions& options);      // without rows when no KL is measured
std::string KernelTables(const ModelResults& model, const PageOptions& options);  // empty without kernel timings
std::string MixedSection(const Analysis& analysis, const PageOptions& options);
std::string CalibrationSection(const Analysis& analysis, const PageOptions& options);
std::string PlotsSection(const PageOptions& options);
std::string MethodologySection(const Analysis& analysis);
std::string HardwareSection(const Analysis& analysis);
std::string ConfigurationsSection(const Analysis& analysis);
std::string RecordsSection(const Analysis& analysis, const PageOptions& options);

// The record that a line stands on: its short id, linked to its file.
Cell RecordCell(const StoredRecord& stored, const PageOptions& options);

// "WikiText-2 test, protocol ppl-512 v1, all 562 windows of 512 tokens"
std::string DescribeText(const record::Perplexity& measured);

}  // namespace marlin
