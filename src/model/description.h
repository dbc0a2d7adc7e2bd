// A model as data: the tensors of its files, the matrices and vectors that they hold, and the blocks that these make.
// Families fill a description from a configuration (families/). Loading, the forward pass, sizes, calibration,
// quantization and plans walk over it; only model/ knows what the parts of a block are called.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "files/tensor.h"
#include "kernels/backend.h"

namespace marlin {

// A tensor of the files.
struct StoredTensor {
  std::string name;
  std::vector<std::size_t> shape;  // slowest axis first
};

// A part of a stored tensor. Of a vector, rows are elements.
struct Source {
  std::size_t tensor = 0;             // index in Description::tensors
  RowRange rows;                      // of what is left when an expert is chosen and the axes are exchanged
  bool transposed = false;            // stored as [k, n]
  std::optional<std::size_t> expert;  // place on the first axis of a stacked tensor
};

// A matrix that activations are multiplied by, or that tokens choose rows of.
struct Matrix {
  std::string name;      // unique; of a whole tensor its stem: "model.layers.3.self_attn.q_proj"
  std::size_t rows = 0;  // n
  std::size_t cols = 0;  // k
  Source source;
  std::optional<Source> bias;   // [n]
  bool adds_to_hidden = false;  // its rows are the hidden state's
  bool keep_16_bits = false;    // never quantized: small, and its errors decide which experts or states are chosen
  // Matrices with the same number share a format: they are stored as one, in the files or in GGUF. Mostly
  // source.tensor.
  std::size_t format_group = 0;
};

// Norm weights, sinks, single numbers.
struct Vector {
  std::size_t size = 0;
  Source source;
};

// y = normed x * weight (+ bias). Indexes of vectors.
struct Norm {
  NormKind kind = NormKind::kRms;
  std::optional<std::size_t> weight;  // none: only normed
  std::optional<std::size_t> bias;
  bool plus_one = false;  // the files hold weight - 1
  float eps = 0;
};

// What can take the factors of an input's channels, so that a matrix that reads it may scale its columns up: channel j
// belongs to row RowOf(j) of a matrix (and of its bias), or to element j of a norm.
struct Absorber {
  enum class Kind { kNorm, kMatrix };
  Kind kind = Kind::kNorm;
  std::size_t index = 0;   // in the norms or matrices of the block
  std::size_t run = 0;     // channels of a head; of a matrix only
  std::size_t repeat = 1;  // heads that one head of the matrix serves, neighbours
  bool is_linear = false;  // a head of the input is a weighted sum of such heads: a rotation inside a head may follow

  std::size_t RowOf(std::size_t j) const { return j / (run * repeat) * run + j % run; }
};

// One activation and the matrices that read it. Inputs with the same absorber are the same activation: they share its
// factors. Indexes in Block::matrices.
struct Input {
  std::vector<std::size_t> matrices;
  std::optional<Absorber> absorber;
  std::optional<std::size_t> expert;  // only the tokens that the router sends there
};

// How pairs turn with their position.
struct RopeScaling {
  std::vector<float> frequencies;       // [dims / 2] radians per position; empty in a family that is not run
  std::vector<float> long_frequencies;  // the same in a sequence of more than short_context positions; empty: the same
  std::size_t short_context = 0;
  float magnitude = 1;  // what turns is scaled by this
  // Queries at position p are scaled by 1 + query_growth * log(1 + floor(p / query_context)).
  float query_growth = 0;
  std::size_t query_context = 1;
};

// Positions by rotation: pair i of a head turns by position * frequencies[i].
struct Rope {
  std::size_t dims = 0;     // of a head, the first ones; the others stay
  bool neighbours = false;  // pairs (2 i, 2 i + 1) instead of (i, i + dims / 2)
  RopeScaling scaling = {};
  double theta = 0;  // what the frequencies were made of, before any scaling
};

// Indexes of matrices, norms and vectors of the block.
struct Attention {
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t q = 0;
  std::optional<std::size_t> k;  // none: keys and values are those of another block
  std::optional<std::size_t> v;  // none beside k: the values are the keys before their norm
  std::size_t o = 0;
  std::optional<std::size_t> gate;                    // its sigmoid scales what o reads
  std::optional<std::size_t> q_norm, k_norm, v_norm;  // of each head, or of all heads together: its size says
  std::optional<std::size_t> sinks;                   // [heads]: a further score that no value belongs to
  std::optional<std::size_t> rope;                    // in Description::ropes
  std::optional<std::size_t> window;                  // positions that a token sees; none: all
  float scale = 0;
  float softcap = 0;      // scores become softcap * tanh(score / softcap); 0: they stay
  std::size_t cache = 0;  // blocks with the same number share keys and values
};

// Multi-head latent attention: keys and values of all heads from one short vector.
struct LatentAttention {
  std::size_t heads = 0;
  std::size_t plain_dim = 0;   // of a head's query and key, without position
  std::size_t rotary_dim = 0;  // of a head's query; its keys are shared by all heads
  std::size_t value_dim = 0;
  std::optional<std::size_t> q_down;  // none: q reads the hidden state
  std::optional<std::size_t> q_norm;
  std::size_t q = 0;
  std::size_t kv_down = 0;  // [latent + rotary_dim]
  std::size_t kv_norm = 0;
  std::size_t k = 0, v = 0;  // read the normed latent
  std::size_t o = 0;
  std::size_t rope = 0;
  float scale = 0;
  std::size_t cache = 0;
};

// Gated DeltaNet: a state of [key_dim, value_dim] for each value head instead of keys and values.
struct DeltaNet {
  std::size_t key_heads = 0, value_heads = 0;
  std::size_t key_dim = 0, value_dim = 0;
  std::size_t qkv = 0, gate = 0, beta = 0, decay = 0, o = 0;
  std::size_t convolution = 0;  // vector [channels of qkv][taps]
  std::size_t taps = 0;
  std::size_t log_decay = 0, decay_bias = 0;  // vectors [value_heads]
  std::size_t norm = 0;                       // of each head, then scaled by the gate
  std::size_t cache = 0;
};

// gate and up, or up alone; then down.
struct FeedForward {
  std::optional<std::size_t> gate;  // none: down reads activation(up)
  std::size_t up = 0, down = 0;
  Activation activation = Activation::kSilu;
  std::optional<float> limit;  // gpt-oss: gate and up are clamped, gate * sigmoid(1.702 gate) * (up + 1)
};

enum class Routing { kTopThenSoftmax, kSigmoidGroups };

struct Experts {
  std::size_t router = 0;
  std::optional<std::size_t> correction;  // vector [experts], added to scores for the choice only
  Routing routing = Routing::kTopThenSoftmax;
  std::size_t chosen = 0;
  std::size_t groups = 1, chosen_groups = 1;
  bool normalized = true;  // weights of the chosen sum to 1
  float scale = 1;
  std::vector<FeedForward> experts;
  std::optional<FeedForward> shared;  // for every token
};

// A third residual part (Gemma 4): what the token says of itself to this block.
struct TokenInput {
  std::size_t gate = 0, projection = 0, norm = 0;
  Activation activation = Activation::kGeluTanh;
};

struct Parts {
  // What is added to the elements of a vector of the files: 1 to the weight of a norm that holds weight - 1.
  float AddedTo(std::size_t vector) const;

  std::vector<Matrix> matrices;
  std::vector<Vector> vectors;
  std::vector<Norm> norms;
};

struct Block : Parts {
  // Index in `inputs` of the input that matrix m reads.
  std::size_t InputOf(std::size_t m) const;
  const Matrix& FirstOf(const Input& input) const { return matrices[input.matrices[0]]; }
  // Whether an input is the hidden state, normed.
  bool ReadsHidden(const Input& input) const {
    return input.absorber && input.absorber->kind == Absorber::Kind::kNorm &&
           (input.absorber->index == mixer_norm || input.absorber->index == feed_forward_norm);
  }

  std::vector<Input> inputs;  // in the order in which they are computed
  std::variant<Attention, LatentAttention, DeltaNet> mixer;
  std::variant<FeedForward, Experts> feed_forward;
  std::optional<std::size_t> mixer_norm, feed_forward_norm;    // of the hidden state, before the part; none: it is read
  std::optional<std::size_t> after_mixer, after_feed_forward;  // norms of what a part adds
  float added_scale = 1;                                       // of what a part adds
  bool parallel = false;                                       // both parts read the block's own input
  std::optional<TokenInput> token_input;
  std::optional<std::size_t> scalar;  // vector [1] that scales the block's output
};

// A tensor that the files may hold as a part of another one.
struct SplitTensor {
  std::size_t tensor = 0;  // in Description::tensors
  StoredTensor stored;     // the whole
  Source source;           // the part of it; its index of a tensor has no meaning
};

// Its own parts are those around the blocks.
struct Description : Parts {
  std::string architecture;  // "LlamaForCausalLM"
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t max_context = 0;                   // positions the model was trained for
  std::string head_name;                         // stem of the head where it is not the embedding
  std::set<std::string, std::less<>> read_keys;  // of the configuration; DescribeModel fills them
  std::vector<StoredTensor> tensors;
  std::vector<SplitTensor> splits;            // SplitStored fills them
  std::set<std::string, std::less<>> unused;  // tensors that published files hold and the model does not read
  std::vector<Rope> ropes;
  std::size_t caches = 0;

  std::size_t embedding = 0;  // [vocab, hidden]
  float embedding_scale = 1;
  std::optional<std::size_t> positions;  // learned: [max_context, hidden]
  // Gemma 4: a second embedding [vocab, blocks * width] and a projection of the first one, normed; TokenInput reads
  // them.
  std::optional<std::size_t> token_embedding, token_projection, token_norm;
  std::vector<Block> blocks;
  std::size_t final_norm = 0;
  std::size_t head = 0;  // == embedding where it is tied
  float logit_scale = 1;
  float logit_softcap = 0;  // then they become softcap * tanh(logit / softcap); 0: they stay

  bool tied_head() const { return head == embedding; }
  const std::string& NameOf(const Source& source) const { return tensors[source.tensor].name; }
};

// The parts around the blocks, and those of every block.
std::vector<const Parts*> AllParts(const Description& description);

// Gives every matrix and bias that is only a part of a stored tensor, or a transposed one, a tensor of its own, with
// the matrix's name. Description::splits says what it is a part of. So after this each source is a whole tensor.
void SplitStored(Description& description);

// Checks that the model was trained for windows of ctx tokens; beyond that its predictions are useless. Errors: kUsage.
Status CheckContext(const Description& description, std::size_t ctx);

// Parameters of the model, tied tensors once.
std::size_t CountParameters(const Description& description);

// What most people ask of a model first: the sizes of its first block that has attention and a feed-forward part.
struct Dimensions {
  std::size_t heads = 0, kv_heads = 0, head_dim = 0, intermediate_size = 0;
};
Dimensions DimensionsOf(const Description& description);

}  // namespace marlin
