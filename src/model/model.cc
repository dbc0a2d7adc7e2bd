#include "model/model.h"

#include <utility>

#include "base/check.h"
#include "model/embedding.h"
#include "model/families/family.h"
#include "model/norm_args.h"

namespace marlin {

void Model::FinalNorm(const DeviceTensor& x, const DeviceTensor& y) const {
  backend->Norm(ArgsOf(description, weights.around, description.final_norm, x, y));
}

Head HeadOf(const Description& description, const Weight& weight) {
  return {&weight, description.logit_scale, description.logit_softcap};
}

void ComputeLogits(Backend& backend, const Head& head, const DeviceTensor& hidden, const DeviceTensor& logits) {
  backend.Matmul({&head.weight, 1}, {}, hidden, {&logits, 1});
  if (head.scale != 1) backend.Scale(logits, head.scale);
  if (head.softcap != 0) backend.SoftCap(logits, head.softcap);
}

void Model::Logits(const DeviceTensor& hidden, const DeviceTensor& logits) const {
  ComputeLogits(*backend, HeadOf(description, head()), hidden, logits);
}

namespace {

CacheShape CacheOf(const Description& description, std::size_t context) {
  CacheShape shape{context, std::vector<CacheLayer>(description.caches)};
  for (const Block& block : description.blocks) {
    const Attention& attention = std::get<Attention>(block.mixer);
    shape.layers[attention.cache] = {attention.kv_heads, attention.head_dim};
  }
  return shape;
}

}  // namespace

std::size_t SessionBytes(const Description& description, std::size_t context, std::size_t max_batch) {
  return (CacheFloats(CacheOf(description, context)) + max_batch * (description.hidden_size + 1)) * sizeof(float) +
         BlockScratch::Bytes(description, {context, max_batch});
}

PositionBytes BytesOfPosition(const Description& description, bool half_cache) {
  const std::size_t numbers = CacheFloats(CacheOf(description, 1));
  return {numbers * (half_cache ? sizeof(std::uint16_t) : sizeof(float)),
          SessionBytes(description, 1, 1) - numbers * sizeof(float)};
}

std::size_t Session::resident_bytes() const {
  std::size_t bytes = tokens_->bytes() + hidden_->bytes() +
                      BlockScratch::Bytes(model_->description, {context_, max_batch_ * caches_.size()});
  for (const auto& cache : caches_) bytes += cache->resident_bytes();
  return bytes;
}

Result<Model> LoadModel(const Checkpoint& checkpoint, Backend& backend, Precision precision, const ProgressFn& progress,
                        const FormatMap& rounded) {
  auto description = DescribeModel(checkpoint.config);
  if (!description)
    return Error{description.error().code, checkpoint.path.string() + ": " + description.error().message};
  auto weights = LoadWeights(checkpoint, *description, backend, precision, progress, rounded);
  if (!weights) return weights.error();
  return Model{std::move(*description), std::move(*weights), &backend};
}

Result<Session> Session::Create(const Model& model, std::size_t context, std::size_t max_batch, std::size_t sequences) {
  const Description& description = model.description;
  Session session;
  session.model_ = &model;
  session.context_ = context;
  session.max_batch_ = max_batch;
  const std::size_t rows = max_batch * sequences;
  auto scratch = BlockScratch::Create(description, *model.backend, {context, rows});
  if (!scratch) return scratch.error();
  session.scratch_ = std::move(*scratch);
  for (std::size_t s = 0; s < sequences; ++s) {
    auto cache = model.backend->AllocateCache(CacheOf(description, context));
    if (!cache) return cache.error();
    session.caches_.push_back(std::move(*cache));
  }
  const auto allocated = model.backend->AllocateAll(
      {{&session.tokens_, rows, ElementType::kI32}, {&session.hidden_, rows * description.hidden_size}});
  if (!allocated) return allocated.error();
  return session;
}

DeviceTensor Session::Forward(std::span<const std::int32_t> tokens, const ModelObserver& observer) {
  return ForwardTogether(tokens, 1, observer);
}

DeviceTensor Session::ForwardTogether(std::span<const std::int32_t> tokens, std::size_t sequences,
                                      const ModelObserver& observer) {
  const std::size_t rows = tokens.size();
  MARLIN_CHECK(sequences > 0 && sequences <= caches_.size() && rows > 0 && rows % sequences == 0,
               "tokens of some sequences");
  const std::size_t m = rows / sequences;
  MARLIN_CHECK(m <= max_batch_ && position_ + m <= context_, "tokens exceed the session");
  const Description& description = model_->description;
  Backend& backend = *model_->backend;
  const auto hidden = View(hidden_, rows, description.hidden_size);
  const auto ids = View(tokens_, rows, 1, ElementType::kI32);
  scratch_.SetPositions(backend, position_, m, sequences);
  backend.Upload(tokens, ids);
  const auto normed = View(scratch_.normed, rows, description.hidden_size);
  const auto run = [&] {
    EmbedTokens(backend, description, model_->weights.around, scratch_, ids, hidden);
    const std::span<const std::unique_ptr<KvCache>> caches(caches_.data(), sequences);
    for (std::size_t i = 0; i < description.blocks.size(); ++i) {
      InputObserver observe;
      if (observer) observe = [&](std::size_t input, const DeviceTensor& x) { observer(i, input, x); };
      const std::size_t cache_layer = std::get<Attention>(description.blocks[i].mixer).cache;
      RunBlock(backend, model_->block(i), scratch_,
               {hidden, caches, cache_layer, TokenInputOf(description, scratch_, i, rows)}, observe);
    }
    model_->FinalNorm(hidden, normed);
  };
  if (rows == 1 && !observer) {
    backend.QueueRecorded(step_, run);
  } else {
    run();
  }
  position_ += m;
  return normed;
}

void Session::Rewind(std::size_t position) {
  MARLIN_CHECK(position <= position_, "rewind forwards");
  position_ = position;
}

}  // namespace marlin
