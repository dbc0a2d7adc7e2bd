// Runs a model over calibration text and collects statistics of the inputs of every linear layer.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"
#include "model/model.h"
#include "quantize/layer_walk.h"
#include "quantize/model_statistics.h"
#include "text/eval_text.h"
#include "text/token_stream.h"
#include "text/tokenizer.h"

namespace marlin {

inline constexpr std::size_t kCalibrationWindows = 128;
inline constexpr std::size_t kCalibrationCtx = 512;
// Fewer windows than this are too few for a model.
inline constexpr std::size_t kLeastCalibrationWindows = 4;

// Where `windows` windows of ctx tokens begin: spread evenly over the text, so that all parts of a mixed text are used;
// adjacent if the text has no more; all windows if it has fewer. Errors: kInput (fewer than kLeastCalibrationWindows).
Result<std::vector<std::size_t>> SpreadWindows(std::size_t tokens, std::size_t ctx, std::size_t windows);

// The tokenized windows of a text, by SpreadWindows. Errors: kInput (too short; not UTF-8), naming the text.
Result<CalibrationWindows> CutCalibration(const Tokenizer& tokenizer, const EvalText& text, std::size_t ctx,
                                          std::size_t windows);

// Statistics before the first window. source: everything but `seen`.
ModelStatistics EmptyStatistics(const Description& description, StatisticsSource source);

// Continues from the position of `start` (source.seen) to source.windows; the same bits however often it was
// interrupted, and for any number of threads. after_window is called with what was gathered so far and may save it.
// Errors: kInput (a token beyond the vocabulary, text shorter than the windows), kResource, kNumerical (NaN: names
// layer and input), kInterrupted.
Result<ModelStatistics> CollectStatistics(const Model& model, const TokenStream& stream, bool gram,
                                          ModelStatistics start,
                                          const std::function<Status(ModelGatherer&)>& after_window);

}  // namespace marlin
