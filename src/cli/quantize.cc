// quantize: a model into a folder, with sizes and bits per weight.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/configs.h"
#include "cli/program_info.h"
#include "cli/verb.h"
#include "io/checkpoint.h"
#include "quantize/quantize_model.h"

namespace marlin {
namespace {

struct Options {
  std::string model;
  std::string config = "fp4-g128";
  std::string output;
  QuantizeOptions quantize;
};

void Print(const Options& options, const QuantizeSummary& summary, Console& console) {
  const StoredSizes& sizes = summary.sizes;
  const auto model_bytes = static_cast<double>(sizes.model_bytes);
  console.Result(fmt::format("{}: {} of tensors ({}, {})", options.output, FormatBytes(model_bytes), options.config,
                             options.quantize.method));
  console.Result(fmt::format("  compression      {:.3f} (16-bit original {} / this folder's tensors)",
                             static_cast<double>(summary.fp16_bytes) / model_bytes,
                             FormatBytes(static_cast<double>(summary.fp16_bytes))));
  console.Result(fmt::format("  quantized part   {} of {} weights, {:.4f} bits per weight",
                             FormatBytes(static_cast<double>(sizes.quantized_bytes)), sizes.quantized_parameters,
                             sizes.bits_per_weight()));
  console.Result(fmt::format("  written, read back, every hash checked: {} files, {}", summary.verified.files,
                             FormatBytes(static_cast<double>(summary.verified.bytes))));
  if (!summary.kept.empty()) {
    console.Result(fmt::format("  kept in 16 bits  {} tensors whose rows the group does not divide (--compat)",
                               summary.kept.size()));
  }
}

Status RunQuantize(const Options& options, Invocation& invocation) {
  const auto format = ParseConfig(options.config);
  if (!format) return format.error();
  const auto checkpoint = OpenCheckpoint(options.model);
  if (!checkpoint) return checkpoint.error();
  QuantizeOptions quantize = options.quantize;
  quantize.format = *format;
  quantize.threads = invocation.common.threads;
  quantize.program = fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
  quantize.command = invocation.command;
  const auto summary = QuantizeModel(*checkpoint, quantize, options.output, invocation.console.progress());
  if (!summary) return summary.error();
  Print(options, *summary, invocation.console);
  invocation.console.Data({{"folder", options.output},
                           {"config", options.config},
                           {"method", quantize.method},
                           {"model_bytes", summary->sizes.model_bytes},
                           {"fp16_bytes", summary->fp16_bytes},
                           {"quantized_bytes", summary->sizes.quantized_bytes},
                           {"quantized_parameters", summary->sizes.quantized_parameters},
                           {"bits_per_weight", summary->sizes.bits_per_weight()},
                           {"kept_16_bit", summary->kept}});
  return {};
}

}  // namespace

void RegisterQuantize(CLI::App& parent, Selection& selection) {
  auto options = std::make_shared<Options>();
  CLI::App* app = AddVerb(parent, selection, "quantize", "Quantize a model into a folder",
                          "metal-marlin quantize ./SmolLM2-135M --config fp4-g128 -o ./SmolLM2-135M-fp4-g128");
  std::string methods;
  for (const Method& method : Methods()) methods += fmt::format("{}{}", methods.empty() ? "" : ", ", method.name);
  app->add_option("model", options->model, "Hugging Face folder or GGUF file")->required();
  app->add_option("-c,--config", options->config, "One of " + ConfigNames());
  app->add_option("-o,--output", options->output, "Folder to make")->required();
  app->add_option("--method", options->quantize.method, "One of " + methods);
  app->add_flag("--quantize-embeddings", options->quantize.quantize_embeddings, "Also the embedding");
  app->add_flag("--quantize-head", options->quantize.quantize_head, "Also the head");
  app->add_flag(
      "--compat", options->quantize.compat,
      "Keep tensors in 16 bits that other programs could not read (INT4: rows that the group does not divide)");
  app->add_flag("--overwrite", options->quantize.overwrite, "Replace an existing folder");
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) { return RunQuantize(*options, invocation); };
  });
}

}  // namespace marlin
