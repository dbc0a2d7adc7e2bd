// Sections 5 and 6: plots, methodology, hardware and versions, from the records.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plots.h"

namespace marlin {
namespace {

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out.empty() ? "none named" : out;
}

std::string PlotText(const Plot& plot, const PageOptions& options) {
  std::string pages;
  int count = 0;
  for (std::string stem = plot.name; options.plots.contains(stem);) {
    pages += fmt::format("{}![{}](plots/{}.png)\n\n[as SVG](plots/{}.svg)\n", pages.empty() ? "" : "\n", plot.title,
                         stem, stem);
    stem = fmt::format("{}-{}", plot.name, 1 + ++count);
  }
  if (!pages.empty()) return pages;
  if (const auto why = options.why_not_drawn.find(plot.name); why != options.why_not_drawn.end()) {
    return fmt::format("{}: not drawn. {}\n", plot.title, EscapeMarkdown(why->second));
  }
  return fmt::format("{}: {}. It needs {}.\n", plot.title, kNotMeasured, plot.needs);
}

// Sentences that several records share are written once, with the models (or configurations) they hold for.
using Sentences = std::map<std::string, std::set<std::string>>;

std::string Lines(const Sentences& sentences) {
  std::string out;
  for (const auto& [sentence, models] : sentences) {
    std::string names;
    for (const std::string& model : models) names += (names.empty() ? "" : ", ") + model;
    out += fmt::format("- {} ({})\n", EscapeMarkdown(sentence), EscapeMarkdown(names));
  }
  return out.empty() ? fmt::format("- {}\n", kNotMeasured) : out;
}

void Insert(const std::vector<std::string>& sentences, const std::string& name, Sentences& all) {
  for (const std::string& sentence : sentences) all[sentence].insert(name);
}

std::string PerplexitySentence(const record::Perplexity& x) {
  std::string text = fmt::format(
      "{}; text sha256 {}{}; BOS {}; {} tokens in the windows, {} scored ({} per window); tokenizer {}; backend {}.",
      DescribeText(x), ShortHash(x.text.sha256), x.text.standard ? " (the standard file)" : " (not the standard file)",
      x.bos, FigureCount(x.tokens), FigureCount(x.scored_tokens), x.scored_per_window, ShortHash(x.tokenizer_sha256),
      x.backend);
  if (x.half) text += fmt::format(" {}: {} scored per window.", x.half->protocol, x.half->scored_per_window);
  return text;
}

std::string DivergenceSentence(const record::Divergence& x) {
  return fmt::format("{} v{}, {} windows, {} scored per window.", x.protocol, x.metric_version, x.windows,
                     x.scored_per_window);
}

std::string TimingSentence(const record::TimingProtocol& x) {
  return fmt::format(
      "{}: mean of {} iterations after {} warm-up iterations; samples beyond {} sigma of the mean are "
      "removed once",
      x.id, x.iterations, x.warmup, x.trim_sigma);
}

std::string ThroughputSentence(const record::Throughput& x) {
  std::string text = TimingSentence(x.protocol);
  if (x.prefill) text += fmt::format("; prefill of {} tokens", x.prefill->tokens);
  if (x.decode && x.decode->protocol) text += "; " + TimingSentence(*x.decode->protocol);
  if (x.decode) text += fmt::format("; decode of 1 token after a prompt of {}", x.decode->prompt_tokens);
  text += "; batch 1";
  text += x.interleaved ? "; configurations interleaved" : "; configurations one after the other";
  return text + fmt::format("; backend {}.", x.backend);
}

std::string Load(const record::Machine& x) {
  return fmt::format("{} to {}", FigureFixed(x.load_before, 2), FigureFixed(x.load_after, 2));
}

std::string Clock(const record::Machine& x) {
  return fmt::format("{} to {}", FigureFixed(x.clock_mhz_before, 0), FigureFixed(x.clock_mhz_after, 0));
}

// The command block of a record; its fence is longer than any run of backticks inside.
std::string CommandBlock(const std::string& command) {
  const std::size_t marks = CodeSpan(command).find_first_not_of('`');
  const std::string fence(std::max<std::size_t>(marks, 3), '`');
  return fence + "\n" + OneLine(command) + "\n" + fence + "\n";
}

// What happens to activations before they are multiplied.
std::string RoundingSentence(const record::Machine& machine) {
  if (!machine.activations) return "fp32, not rounded (w4a32)";
  const std::string mode = *machine.activations == "int8" ? "w4a8" : "w4a16-" + *machine.activations;
  return fmt::format("rounded to {} in matrix products that have a kernel for it ({}); sums in fp32",
                     *machine.activations, mode);
}

}  // namespace

std::string PlotsSection(const PageOptions& options) {
  std::string out = "## 5. Plots\n";
  for (const Plot& plot : Plots()) out += "\n" + PlotText(plot, options);
  return out;
}

std::string MethodologySection(const Analysis& analysis) {
  Sentences perplexity;
  Sentences divergence;
  Sentences throughput;
  Sentences kernels;
  Sentences served;
  Sentences rounded;
  for (const StoredRecord* stored : analysis.shown) {
    const Record& record = stored->record;
    const std::string& model = record.model.name;
    if (record.perplexity) perplexity[PerplexitySentence(*record.perplexity)].insert(model);
    if (record.divergence) divergence[DivergenceSentence(*record.divergence)].insert(model);
    if (record.throughput) throughput[ThroughputSentence(*record.throughput)].insert(model);
    if (record.kernels) {
      kernels[TimingSentence(record.kernels->protocol) + "; every kernel is compared with an fp64 reference first."]
          .insert(model);
    }
    if (record.perplexity || record.throughput) rounded[RoundingSentence(record.machine)].insert(model);
    if (record.perplexity) Insert(record.perplexity->kernels, record.config.id, served);
    if (record.throughput) Insert(record.throughput->kernels, record.config.id, served);
  }
  std::string out = "## 6. Methodology\n\nFrom the records.\n\n### Perplexity\n\n" + Lines(perplexity);
  out += fmt::format(
      "\nCross-entropy over disjoint windows. Delta: 100 (exp(mean NLL difference) - 1) on the same windows, baseline "
      "and quantized. Standard errors and 95 % percentile intervals: bootstrap over windows, {} resamples, seed {}.\n",
      kBootstrapResamples, kBootstrapSeed);
  out += "\n### Divergence and ranks\n\n" + Lines(divergence) +
         "\nKL(baseline || row) per token over the whole vocabulary, from the same pass as the perplexity, with an "
         "interval as above. Rows are ranked by mean KL where every row of a table has it, because perplexity can fall "
         "although the predictions got worse. Otherwise they are ranked by perplexity delta. Two rows share a rank "
         "unless the interval of their own paired difference, of KL or of perplexity, excludes 0.\n";
  out += "\n### Throughput\n\n" + Lines(throughput) + "\n### Kernels\n\nUsed in both, with the configurations:\n\n" +
         Lines(served) + "\nActivations:\n\n" + Lines(rounded) + "\nTimed alone:\n\n" + Lines(kernels);
  return out +
         "\n### Compression\n\nFP16 bytes of the original (2 bytes for every parameter, tied tensors once) / bytes of "
         "the tensors as written. Bits per weight and the ratio of quantized tensors count only the quantized "
         "tensors.\n";
}

std::string HardwareSection(const Analysis& analysis) {
  // Equal machines and programs are written once.
  std::map<std::vector<std::string>, const Record*> machines;
  std::map<std::vector<std::string>, const Record*> programs;
  for (const StoredRecord* stored : analysis.shown) {
    const record::Machine& x = stored->record.machine;
    machines.emplace(
        std::vector<std::string>{x.cpu, fmt::format("{}", x.cores), fmt::format("{}", x.threads), x.isa,
                                 Joined(x.isa_available),
                                 fmt::format("{:.1f}", static_cast<double>(x.memory_bytes) / 1e9), x.os, x.affinity},
        &stored->record);
    const record::Program& y = stored->record.program;
    programs.emplace(std::vector<std::string>{y.version, y.commit, y.compiler, y.flags}, &stored->record);
  }
  const auto fill = [](Table& table, const auto& lines) {
    for (const auto& [texts, record] : lines) table.Add(std::vector<Cell>(texts.begin(), texts.end()));
  };
  Table hardware;
  hardware.columns = {{"CPU", Align::kLeft},           {"Cores"},     {"Threads used"},     {"ISA used", Align::kLeft},
                      {"ISA available", Align::kLeft}, {"Memory GB"}, {"OS", Align::kLeft}, {"Affinity", Align::kLeft}};
  fill(hardware, machines);
  Table versions;
  versions.columns = {
      {"Version", Align::kLeft}, {"Commit", Align::kLeft}, {"Compiler", Align::kLeft}, {"Flags", Align::kLeft}};
  fill(versions, programs);
  return "### Hardware\n\n" + ToMarkdown(hardware) + "\n### Versions\n\n" + ToMarkdown(versions);
}

std::string RecordsSection(const Analysis& analysis, const PageOptions& options) {
  Table table;
  table.columns = {{"Record", Align::kLeft},
                   {"Created", Align::kLeft},
                   {"Model", Align::kLeft},
                   {"Config", Align::kLeft},
                   {"Load"},
                   {"Clock MHz"},
                   {"Commit", Align::kLeft}};
  std::map<std::string, std::string> commands;  // command -> ids
  for (const StoredRecord* stored : analysis.shown) {
    const Record& record = stored->record;
    table.Add({RecordCell(*stored, options), record.created, record.model.name, record.config.id, Load(record.machine),
               Clock(record.machine), record.program.commit});
    std::string& ids = commands[record.command];
    ids += (ids.empty() ? "" : ", ") + ShortHash(record.id);
  }
  std::string out = "## Appendix: records and the commands that made them\n\n" + ToMarkdown(table);
  for (const auto& [command, ids] : commands) out += "\n" + ids + ":\n\n" + CommandBlock(command);
  if (!analysis.superseded.empty()) {
    out += "\nNot shown, because a newer record measures the same configuration in the same way:\n\n";
    std::vector<const StoredRecord*> older = analysis.superseded;
    std::sort(older.begin(), older.end(), [](const auto* a, const auto* b) { return a->file < b->file; });
    for (const StoredRecord* stored : older) {
      out += fmt::format("- {} ({})\n", EscapeMarkdown(stored->file), stored->record.created);
    }
  }
  return out;
}

}  // namespace marlin
