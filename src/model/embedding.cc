#include "model/embedding.h"

#include <cmath>

#include "model/norm_args.h"

namespace marlin {
namespace {

// Gemma 4 (Hugging Face transformers, Gemma4TextModel.project_per_layer_inputs): the mean of two parts of equal
// variance, the token's own row and the normed projection of the hidden state.
void EmbedForBlocks(Backend& backend, const Description& d, const LoadedParts& around, const BlockScratch& scratch,
                    const DeviceTensor& tokens, const DeviceTensor& hidden) {
  const Weight& table = *around.matrices[*d.token_embedding].weight;
  const Weight* const projection = around.matrices[*d.token_projection].weight.get();
  const std::size_t width = table.cols();
  const auto inputs = View(scratch.token_inputs, tokens.rows, width);
  const auto projected = View(scratch.projections, tokens.rows, width);
  const std::size_t of_block = width / d.blocks.size();
  backend.Embed(table, tokens, inputs);
  backend.Scale(inputs, std::sqrt(static_cast<float>(of_block)));
  backend.Matmul({&projection, 1}, {}, hidden, {&projected, 1});
  backend.Scale(projected, 1 / std::sqrt(static_cast<float>(d.hidden_size)));
  const DeviceTensor each = projected.Reshape(tokens.rows * d.blocks.size(), of_block);
  backend.Norm(ArgsOf(d, around, *d.token_norm, each, each));
  backend.Add(inputs, projected);
  backend.Scale(inputs, 1 / std::sqrt(2.0f));
}

}  // namespace

void EmbedTokens(Backend& backend, const Description& d, const LoadedParts& around, const BlockScratch& scratch,
                 const DeviceTensor& tokens, const DeviceTensor& hidden) {
  backend.Embed(*around.matrices[d.embedding].weight, tokens, hidden);
  if (d.embedding_scale != 1) backend.Scale(hidden, d.embedding_scale);
  if (d.positions) {
    const auto rows = View(scratch.normed, hidden.rows, hidden.cols);
    backend.Embed(*around.matrices[*d.positions].weight, View(scratch.positions, hidden.rows, 1, ElementType::kI32),
                  rows);
    backend.Add(hidden, rows);
  }
  if (d.token_embedding) EmbedForBlocks(backend, d, around, scratch, tokens, hidden);
}

}  // namespace marlin
