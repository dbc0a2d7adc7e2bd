// eval logits: writes the logits of a window, for comparison with other implementations.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/eval.h"
#include "cli/memory.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/text.h"
#include "eval/perplexity.h"

namespace marlin {
namespace {

struct LogitsOptions {
  std::string model;
  std::string output;
  std::vector<std::string> accept_unknown;
  TextOptions text;
  std::size_t window = 0;
  std::size_t ctx = 512;
  BackendOptions backend;
};

// NumPy's .npy, version 1.0: magic, header length, a Python literal padded to 64 bytes, then the rows.
Status WriteNpy(const std::string& path, const std::vector<float>& values, std::size_t rows, std::size_t cols) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  auto file = AtomicFile::Create(path);
  if (!file) return file.error();
  std::string start("\x93NUMPY\x01\x00", 8);
  start += static_cast<char>(header.size() & 255);
  start += static_cast<char>(header.size() >> 8);
  if (auto status = file->Write(start + header); !status) return status;
  const std::span<const float> all(values);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(all.data()), all.size_bytes());
  if (auto status = file->Write(bytes); !status) return status;
  return file->Commit();
}

Status RunLogits(const LogitsOptions& options, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckOutputFile(options.output); !status) return status;
  const auto text = FindText(options.text, console);
  if (!text) return text.error();
  auto backend = MakeBackend(options.backend, invocation.common.threads);
  if (!backend) return backend.error();
  auto loaded = LoadModelAndTokenizer(options.model, options.accept_unknown, false, **backend, console);
  if (!loaded) return loaded.error();
  const auto stream = MakeTokenStream(loaded->tokenizer, text->text);
  if (!stream) return stream.error();
  auto logits = WindowLogits(loaded->model, *stream, options.ctx, options.window);
  if (!logits) return logits.error();
  const std::size_t vocab = loaded->model.description.vocab_size;
  if (auto status = WriteNpy(options.output, *logits, options.ctx, vocab); !status) return status;
  console.Result(fmt::format("{}: float32 [{}, {}], window {} of {}", options.output, options.ctx, vocab,
                             options.window, text->name));
  console.Data({{"file", options.output}, {"shape", {options.ctx, vocab}}, {"window", options.window}});
  return {};
}

}  // namespace

void RegisterEvalLogits(Verb eval) {
  auto options = std::make_shared<LogitsOptions>();
  Verb verb = eval.AddVerb("logits", "Write the logits of one window as a NumPy file, to compare with other programs",
                           "metal-marlin eval logits ./SmolLM2-135M --window 0 -o logits.npy");
  verb.Add("model", options->model, kAnyModelWords).Required();
  verb.Add("-o,--output", options->output, "File to write (.npy, float32)").Required().NamesFile();
  AddTextOptions(verb, options->text);
  verb.Add("--window", options->window, "Number of the window, from 0").Between(0, 1 << 30);
  verb.Add("--ctx", options->ctx, "Tokens per window").Between(4, 131072);
  AddAcceptUnknown(verb, options->accept_unknown);
  AddBackendOptions(verb, options->backend);
  verb.Runs([options](Invocation& invocation) { return RunLogits(*options, invocation); });
}

}  // namespace marlin
