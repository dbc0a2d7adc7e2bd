// Sections 5 and 6: plots, methodology, hardware and versions, from the records.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plots.h"

namespace marlin {
namespace {

// A plot on as many pages as were drawn, or why there is none.
Document PlotBlocks(const Plot& plot, const PageOptions& options) {
  Document out;
  int count = 0;
  for (std::string stem = plot.name; options.plots.contains(stem);) {
    out.AddPicture({plot.name, plot.title, fmt::format("plots/{}.png", stem), fmt::format("plots/{}.svg", stem)});
    stem = fmt::format("{}-{}", plot.name, 1 + ++count);
  }
  if (count > 0) return out;
  const auto why = options.why_not_drawn.find(plot.name);
  out.AddText(why != options.why_not_drawn.end()
                  ? fmt::format("{}: not drawn. {}", plot.title, why->second)
                  : fmt::format("{}: {}. It needs {}.", plot.title, kNotMeasured, plot.needs));
  return out;
}

// Sentences that several records share are written once, with the models (or configurations) they hold for.
using Sentences = std::map<std::string, std::set<std::string>>;

std::vector<std::string> Lines(const Sentences& sentences) {
  if (sentences.empty()) return {kNotMeasured};
  std::vector<std::string> lines;
  for (const auto& [sentence, models] : sentences) {
    lines.push_back(fmt::format("{} ({})", sentence, fmt::join(models, ", ")));
  }
  return lines;
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

std::string BeforeAndAfter(std::optional<double> before, std::optional<double> after, int decimals) {
  if (!before && !after) return kNotMeasured;
  return fmt::format("{} to {}", FigureFixed(before, decimals), FigureFixed(after, decimals));
}

// What happens to activations before they are multiplied.
std::string RoundingSentence(const record::Machine& machine) {
  if (!machine.activations) return "fp32, not rounded (w4a32)";
  const std::string mode = *machine.activations == "int8" ? "w4a8" : "w4a16-" + *machine.activations;
  return fmt::format("rounded to {} in matrix products that have a kernel for it ({}); sums in fp32",
                     *machine.activations, mode);
}

}  // namespace

Document PlotsSection(const PageOptions& options) {
  Document out;
  out.AddHeading(2, "5. Plots");
  for (const Plot& plot : Plots()) out.Append(PlotBlocks(plot, options));
  return out;
}

Document MethodologySection(const Analysis& analysis) {
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
  Document out;
  out.AddHeading(2, "6. Methodology");
  out.AddText("From the records.");
  out.AddHeading(3, "Perplexity");
  out.AddList(Lines(perplexity));
  out.AddList(
      {"Cross-entropy over disjoint windows.",
       "Delta: 100 (exp(mean NLL difference) - 1) on the same windows, baseline and quantized.",
       fmt::format("Standard errors and 95 % percentile intervals: bootstrap over windows, {} resamples, seed {}.",
                   kBootstrapResamples, kBootstrapSeed)});
  out.AddHeading(3, "Divergence and ranks");
  out.AddList(Lines(divergence));
  out.AddList(
      {"KL(baseline || row) per token over the whole vocabulary, from the same pass as the perplexity, with an "
       "interval as above.",
       "Rows are ranked by mean KL where every row of a table has it, because perplexity can fall although the "
       "predictions got worse. Otherwise they are ranked by perplexity delta.",
       "Two rows share a rank unless the interval of their own paired difference, of KL or of perplexity, "
       "excludes 0."});
  out.AddHeading(3, "Throughput");
  out.AddList(Lines(throughput));
  if (!throughput.empty()) {
    out.AddText(
        "\"faster than 16 bits\" in the summary: both rows in turn, in one run. The range is 1.96 standard errors of "
        "the logarithm of the ratio of the means.");
  }
  out.AddHeading(3, "Kernels");
  Document in_use;
  in_use.AddList(Lines(served));
  out.AddFold("Used in both, with the configurations", std::move(in_use));
  out.AddText("Activations:");
  out.AddList(Lines(rounded));
  out.AddText("Timed alone:");
  out.AddList(Lines(kernels));
  out.AddHeading(3, "Compression");
  out.AddText(
      "FP16 bytes of the original (2 bytes for every parameter, tied tensors once) / bytes of the tensors as written. "
      "Bits per weight and the ratio of quantized tensors count only the quantized tensors.");
  return out;
}

Document HardwareSection(const Analysis& analysis) {
  // Equal machines and programs are written once.
  std::map<std::vector<std::string>, const Record*> machines;
  std::map<std::vector<std::string>, const Record*> programs;
  for (const StoredRecord* stored : analysis.shown) {
    const record::Machine& x = stored->record.machine;
    machines.emplace(
        std::vector<std::string>{
            x.cpu, x.device.value_or("-"), fmt::format("{}", x.cores), fmt::format("{} on {}", x.threads, x.affinity),
            x.device ? "-" : x.isa,
            x.isa_available.empty() ? "none named" : fmt::format("{}", fmt::join(x.isa_available, ", ")),
            fmt::format("{:.1f}", static_cast<double>(x.memory_bytes) / 1e9), x.os},
        &stored->record);
    const record::Program& y = stored->record.program;
    programs.emplace(std::vector<std::string>{y.version, y.commit, y.compiler, y.flags}, &stored->record);
  }
  const auto fill = [](Table& table, const auto& lines) {
    for (const auto& [texts, record] : lines) table.Add(std::vector<Cell>(texts.begin(), texts.end()));
  };
  Table hardware;
  hardware.columns = {
      {"CPU", Align::kLeft},      {"GPU", Align::kLeft},           {"Cores"},     {"Threads on cores", Align::kLeft},
      {"ISA used", Align::kLeft}, {"ISA available", Align::kLeft}, {"Memory GB"}, {"OS", Align::kLeft}};
  fill(hardware, machines);
  Table versions;
  versions.columns = {
      {"Version", Align::kLeft}, {"Commit", Align::kLeft}, {"Compiler", Align::kLeft}, {"Flags", Align::kLeft}};
  fill(versions, programs);
  Document out;
  out.AddHeading(3, "Hardware");
  out.AddTable(std::move(hardware));
  out.AddHeading(3, "Versions");
  out.AddTable(std::move(versions));
  return out;
}

Document RecordsSection(const Analysis& analysis, const PageOptions& options) {
  std::map<std::string, std::size_t> numbers;  // of the commands, from 1
  for (const StoredRecord* stored : analysis.shown) numbers[stored->record.command] = 0;
  Document commands;
  for (auto& [command, number] : numbers) {
    number = commands.blocks.size() / 2 + 1;
    commands.AddText(fmt::format("Command {}:", number));
    commands.AddCode({command});
  }
  Table table;
  table.columns = {{"Record", Align::kLeft},         {"Created", Align::kLeft},
                   {"Model", Align::kLeft},          {"Config", Align::kLeft},
                   {"Load", Align::kRight, kDetail}, {"Clock MHz", Align::kRight, kDetail},
                   {"Commit", Align::kLeft},         {"Command"}};
  for (const StoredRecord* stored : analysis.shown) {
    const Record& record = stored->record;
    const record::Machine& machine = record.machine;
    table.Add({RecordCell(ShortHash(record.id), *stored, options), record.created, record.model.name, record.config.id,
               BeforeAndAfter(machine.load_before, machine.load_after, 2),
               BeforeAndAfter(machine.clock_mhz_before, machine.clock_mhz_after, 0), record.program.commit,
               fmt::format("{}", numbers.at(record.command))});
  }
  Document records;
  records.AddTable(std::move(table));
  std::vector<const StoredRecord*> older = analysis.superseded;
  std::ranges::sort(older, {}, &StoredRecord::file);
  std::vector<std::string> lines;
  for (const StoredRecord* x : older) lines.push_back(fmt::format("{} ({})", x->file, x->record.created));
  Document superseded;
  superseded.AddList(std::move(lines));
  Document out;
  out.AddHeading(2, "Appendix: records and the commands that made them");
  out.AddFold(fmt::format("Records: {}", analysis.shown.size()), std::move(records));
  out.AddFold(fmt::format("Commands: {}", numbers.size()), std::move(commands));
  out.AddFold(fmt::format("Not shown, because a newer record measures the same configuration in the same way: {}",
                          older.size()),
              std::move(superseded));
  return out;
}

}  // namespace marlin
