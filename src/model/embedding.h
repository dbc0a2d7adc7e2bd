// From tokens to the hidden state in front of the first block.
#pragma once

#include "kernels/backend.h"
#include "model/block_scratch.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// Queues hidden [m, hidden] = the embedded tokens, int32 [m, 1], at the positions of the scratch, and what they say of
// themselves to the blocks. `around` holds at least what LoadEmbedding loads.
void EmbedTokens(Backend& backend, const Description& description, const LoadedParts& around,
                 const BlockScratch& scratch, const DeviceTensor& tokens, const DeviceTensor& hidden);

}  // namespace marlin
