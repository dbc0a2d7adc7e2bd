// Shared by all evaluations over windows: the windows of a text, and the sum of their losses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "eval/perplexity.h"

namespace marlin {

// Logits exist for this many positions at a time: half a window of 512, in whole tiles of 6 tokens. Fewer would unpack
// the head more often; 258 x 152,000 floats are 157 MB.
inline constexpr std::size_t kHeadRows = 258;

// Errors: kInput (fewer than `windows` windows; a token that a vocabulary of `vocab` does not have).
Status CheckStream(const TokenStream& stream, std::size_t vocab, std::size_t ctx, std::size_t windows);

// A result without windows yet, and how many there will be. Errors: as CheckStream.
Result<PerplexityResult> StartResult(const TokenStream& stream, std::size_t vocab, const PerplexityOptions& options);
std::size_t WindowsToScore(const PerplexityResult& started, const PerplexityOptions& options);

// Windows of ctx tokens to run together: one window is too little work for many threads, and for a GPU.
std::size_t WindowsAtOnce(const Device& device, std::size_t ctx);

// The final hidden states of a text's windows, some windows at a time. Model and stream outlive it.
class WindowStates {
 public:
  // `windows` will be asked for. Errors: kResource.
  static Result<WindowStates> Create(const Model& model, const TokenStream& stream, const PerplexityOptions& options,
                                     std::size_t windows);

  // [ctx, hidden] of the next window, queued on the device; valid until the next call. Errors: kInterrupted.
  Result<DeviceTensor> Next();

 private:
  WindowStates(Session session, const TokenStream& stream, std::size_t ctx, std::size_t windows, std::size_t at_once)
      : session_(std::move(session)), stream_(&stream), ctx_(ctx), windows_(windows), at_once_(at_once) {}

  Session session_;
  const TokenStream* stream_;
  std::size_t ctx_;
  std::size_t windows_;
  std::size_t at_once_;
  std::size_t next_ = 0;
  DeviceTensor states_;  // of the windows since the last multiple of at_once_
};

// Adds the next window: nll[i] belongs to target i + 1. Errors: kNumerical (names the window).
Status AddWindow(const TokenStream& stream, std::span<const double> nll, std::size_t windows, PerplexityResult& result);

}  // namespace marlin
