#include "kernels/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu_cache.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/region.h"
#include "kernels/work_ranges.h"
#include "kernels/work_split.h"

namespace marlin {
namespace {

// Elements that one thread handles before waking another one pays (a few microseconds).
constexpr std::size_t kSerialElements = 16384;
// Rows (position, head) of an attention tile: enough to read each block of keys seldom, few enough for the L2 cache.
constexpr std::size_t kAttentionRows = 64;
constexpr std::size_t kAttentionHeads = 16;
// Tokens that are multiplied in one go.
constexpr std::size_t kTokensAtOnce = kMaxTileTokens;
// Outputs of a product that are not kept in a core's cache while it is made.
constexpr std::size_t kBytesPastCaches = 2000000;

class CpuWeight final : public Weight {
 public:
  CpuWeight(PackedMatrix matrix, const KernelRow& row) : packed(std::move(matrix)), kernel_row(row) {}
  std::size_t rows() const override { return packed.geometry.rows; }
  std::size_t cols() const override { return packed.geometry.cols; }
  const FormatInfo& format() const override { return packed.format->info; }
  std::size_t resident_bytes() const override { return packed.geometry.bytes(); }
  std::string_view kernel() const override { return kernel_row.name; }
  Result<std::unique_ptr<Weight>> Clone() const override {
    auto memory = packed.memory.Clone();
    if (!memory) return memory.error();
    PackedMatrix copy{packed.format, packed.geometry, std::move(*memory)};
    return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(std::move(copy), kernel_row));
  }

  const PackedMatrix packed;
  const KernelRow& kernel_row;
};

class CpuBuffer final : public Buffer {
 public:
  CpuBuffer(Region memory, std::size_t floats) : memory_(std::move(memory)), floats_(floats) {}
  float* data() override { return reinterpret_cast<float*>(memory_.data()); }
  std::size_t size() const override { return floats_; }

 private:
  Region memory_;
  std::size_t floats_;
};

const CpuWeight& AsCpu(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, KernelOptions options, std::vector<Region> workspaces)
      : pool_(threads),
        forced_(options.forced),
        options_(options),
        ops_(OpsFor(options.isa)),
        ranges_(static_cast<std::size_t>(threads)),
        workspaces_(std::move(workspaces)) {
    options_.forced = forced_;
  }

  std::string_view name() const override { return "cpu"; }
  int threads() const override { return pool_.threads(); }
  Result<std::unique_ptr<Buffer>> Allocate(std::size_t floats) override;
  void Upload(std::span<const float> from, float* to) override { std::copy(from.begin(), from.end(), to); }
  void Download(const float* from, std::span<float> to) override { std::copy_n(from, to.size(), to.begin()); }
  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override;
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override;
  void Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> out) override;
  void Matmul(std::span<const Weight* const> weights, std::span<const float* const> biases, MatrixView<const float> x,
              std::span<const MatrixView<float>> outs) override;
  void RmsNorm(const RmsNormArgs& norm) override;
  void NormMatmul(const RmsNormArgs& norm, std::span<const Weight* const> weights, std::span<const float* const> biases,
                  std::span<const MatrixView<float>> outs) override;
  void Rope(MatrixView<float> x, std::size_t head_dim, MatrixView<const float> cos,
            MatrixView<const float> sin) override;
  void Append(KvCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
              MatrixView<const float> values) override;
  void Attention(const AttentionArgs& args, MatrixView<float> out) override;
  void GatedActivation(Activation activation, MatrixView<float> gate, MatrixView<const float> up) override;
  void Add(MatrixView<float> x, MatrixView<const float> y) override;
  void CrossEntropy(MatrixView<const float> logits, std::span<const std::int32_t> targets,
                    std::span<double> nll) override;
  void Divergence(MatrixView<const float> base, MatrixView<const float> other, std::span<const std::int32_t> targets,
                  std::span<TokenDivergence> out) override;

 private:
  // job(row) for every row, on all threads when there is enough to do.
  template <class Job>
  void ForRows(std::size_t rows, std::size_t cols, Job job) {
    const auto share = [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t row = begin; row < end; ++row) job(row);
    };
    if (rows * cols <= kSerialElements || rows == 1) return share(0, rows, 0);
    pool_.Split(rows, share);
  }

  // job(piece, thread) for every piece, in order, to whoever is free.
  template <class Job>
  void ForPieces(std::size_t pieces, Job job) {
    std::atomic<std::size_t> next{0};
    pool_.Run([&](int thread) {
      for (std::size_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) job(piece, thread);
    });
  }

  // The same where pieces are equal and a thread had better have neighbours.
  template <class Job>
  void ForNeighbours(std::size_t pieces, Job job) {
    ranges_.Start(pieces);
    pool_.Run([&](int thread) {
      while (const auto piece = ranges_.Next(static_cast<std::size_t>(thread))) job(*piece, thread);
    });
  }

  Status ReserveInput(const PackedInput& input, std::size_t cols);
  // job(first token, tokens, their rows of the outputs) for at most kTokensAtOnce at a time.
  template <class Job>
  void ForTokens(std::size_t rows, std::span<const MatrixView<float>> outs, Job job);
  // The tokens of each part together; x is y of `norm`, which is computed on the way, unless that is null.
  void PackInput(MatrixView<const float> x, const RmsNormArgs* norm, const PackedInput& input, const WorkSplit& split);
  void MultiplyTokens(std::span<const Weight* const> weights, std::span<const float* const> biases,
                      MatrixView<const float> x, const RmsNormArgs* norm, std::span<const MatrixView<float>> outs);
  void NormRow(const RmsNormArgs& norm, std::size_t row) {
    ops_.rms_norm(norm.x.Row(row).data(), norm.weight, norm.eps, norm.x.cols, norm.y.Row(row).data());
  }

  float* Workspace(int thread) {
    return reinterpret_cast<float*>(workspaces_[static_cast<std::size_t>(thread)].data());
  }

  ThreadPool pool_;
  std::string forced_;
  KernelOptions options_;  // its `forced` points into forced_
  const OpsTable& ops_;
  const bool fetch_past_caches_ = ReadsFasterPastCaches();
  WorkRanges ranges_;
  RegionPool weights_;  // in the order of execution, as models load them
  RegionPool buffers_;
  std::vector<Region> workspaces_;  // one per thread
  Region input_;                    // packed activations: kTokensAtOnce tokens of the widest weight that takes them
};

Result<std::unique_ptr<Buffer>> CpuBackend::Allocate(std::size_t floats) {
  // The largest request that fits a size_t fails by itself, with the system's own answer.
  const std::size_t most = std::numeric_limits<std::size_t>::max() / sizeof(float);
  Result<Region> memory = buffers_.Allocate(std::clamp<std::size_t>(floats, 1, most) * sizeof(float), "activations");
  if (!memory) return memory.error();
  return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(*std::move(memory), floats));
}

Result<std::unique_ptr<KvCache>> CpuBackend::AllocateCache(const CacheShape& shape) {
  MARLIN_CHECK(shape.head_dim > 0 && shape.head_dim <= kMaxHeadDim, "shape of a cache");
  const bool exact = RoughestActivations(options_) == Activations::kFp32;
  auto cache = CpuCache::Create(shape, exact ? nullptr : ops_.to_half, buffers_);
  if (!cache) return cache.error();
  return std::unique_ptr<KvCache>(*std::move(cache));
}

Result<std::unique_ptr<Weight>> CpuBackend::Pack(const EncodedMatrixView& matrix) {
  const Result<const KernelRow*> row =
      SelectKernel(Kernels(), {&matrix.format->info, matrix.rows, matrix.cols}, options_);
  if (!row) return row.error();
  if ((*row)->takes_packed()) {
    if (auto status = ReserveInput((*row)->input, matrix.cols); !status) return status.error();
  }
  Result<PackedMatrix> packed = marlin::Pack(matrix, weights_, pool_);
  if (!packed) return packed.error();
  return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(*std::move(packed), **row));
}

void CpuBackend::Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> out) {
  const PackedMatrix& packed = AsCpu(table).packed;
  MARLIN_CHECK(out.rows == tokens.size() && out.cols == packed.geometry.cols, "shape of embedded tokens");
  ForRows(tokens.size(), out.cols,
          [&](std::size_t i) { DecodePackedRow(packed, static_cast<std::size_t>(tokens[i]), out.Row(i)); });
}

Status CpuBackend::ReserveInput(const PackedInput& input, std::size_t cols) {
  const std::size_t bytes = kTokensAtOnce * input.words_per_token(cols) * sizeof(std::uint32_t);
  if (input_.size() >= bytes) return {};
  Result<Region> memory = Region::Allocate(bytes, "packed activations");
  if (!memory) return memory.error();
  input_ = *std::move(memory);
  return {};
}

void CpuBackend::PackInput(MatrixView<const float> x, const RmsNormArgs* norm, const PackedInput& input,
                           const WorkSplit& split) {
  const std::size_t last = (split.parts - 1) * split.part_tokens;
  const TokenTiles tiles(split.part_tokens);
  const TokenTiles last_tiles(x.rows - last);
  const auto share = [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t part = i / tiles.count * split.part_tokens;
      const TokenTiles& of_part = part == last ? last_tiles : tiles;
      const PackFn pack = PackingFor(input, part == last ? x.rows - last : split.part_tokens);
      const std::size_t tile = i % tiles.count;
      const std::size_t first = part + of_part.Begin(tile);
      for (std::size_t row = first; norm != nullptr && row < first + of_part.Width(tile); ++row) NormRow(*norm, row);
      auto* const words = reinterpret_cast<std::uint32_t*>(input_.data()) + first * input.words_per_token(x.cols);
      pack(x.data + first * x.stride, x.stride, of_part.Width(tile), x.cols, words);
    }
  };
  const std::size_t all = (split.parts - 1) * tiles.count + last_tiles.count;
  if (x.rows * x.cols <= kSerialElements) return share(0, all, 0);
  pool_.Split(all, share);
}

void CheckShapes(std::span<const Weight* const> weights, std::span<const float* const> biases,
                 MatrixView<const float> x, std::span<const MatrixView<float>> outs) {
  MARLIN_CHECK(!weights.empty() && weights.size() == outs.size() && (biases.empty() || biases.size() == outs.size()),
               "one output per weight");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const PanelGeometry& geometry = AsCpu(*weights[i]).packed.geometry;
    MARLIN_CHECK(geometry.cols == x.cols && outs[i].cols == geometry.rows && outs[i].rows == x.rows,
                 "shapes of a matrix product");
  }
}

void CpuBackend::Matmul(std::span<const Weight* const> weights, std::span<const float* const> biases,
                        MatrixView<const float> x, std::span<const MatrixView<float>> outs) {
  CheckShapes(weights, biases, x, outs);
  ForTokens(x.rows, outs, [&](std::size_t begin, std::size_t tokens, std::span<const MatrixView<float>> parts) {
    MultiplyTokens(weights, biases, x.Rows(begin, tokens), nullptr, parts);
  });
}

void CpuBackend::NormMatmul(const RmsNormArgs& norm, std::span<const Weight* const> weights,
                            std::span<const float* const> biases, std::span<const MatrixView<float>> outs) {
  CheckShapes(weights, biases, norm.x, outs);
  // Packing is where a row is read, and where all that read it must agree.
  const PackedInput& first = AsCpu(*weights[0]).kernel_row.input;
  for (const Weight* weight : weights) {
    const KernelRow& row = AsCpu(*weight).kernel_row;
    if (!row.takes_packed() || row.input.pack != first.pack) return Backend::NormMatmul(norm, weights, biases, outs);
  }
  ForTokens(norm.x.rows, outs, [&](std::size_t begin, std::size_t tokens, std::span<const MatrixView<float>> parts) {
    const RmsNormArgs part{norm.x.Rows(begin, tokens), norm.weight, norm.eps, norm.y.Rows(begin, tokens)};
    MultiplyTokens(weights, biases, part.y, &part, parts);
  });
}

template <class Job>
void CpuBackend::ForTokens(std::size_t rows, std::span<const MatrixView<float>> outs, Job job) {
  std::vector<MatrixView<float>> parts(outs.begin(), outs.end());
  for (std::size_t begin = 0; begin < rows; begin += kTokensAtOnce) {
    const std::size_t tokens = std::min(kTokensAtOnce, rows - begin);
    for (std::size_t i = 0; i < outs.size(); ++i) parts[i] = outs[i].Rows(begin, tokens);
    job(begin, tokens, parts);
  }
}

// At most kTokensAtOnce tokens.
void CpuBackend::MultiplyTokens(std::span<const Weight* const> weights, std::span<const float* const> biases,
                                MatrixView<const float> x, const RmsNormArgs* norm,
                                std::span<const MatrixView<float>> outs) {
  const PackedInput* input = nullptr;  // of all that take x packed
  std::size_t panels = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const KernelRow& row = AsCpu(*weights[i]).kernel_row;
    if (row.takes_packed()) {
      // Weights of other formats may be served by rows that round otherwise.
      if (input != nullptr && input->pack != row.input.pack) {
        MARLIN_CHECK(norm == nullptr, "a norm is computed once");
        MultiplyTokens(weights.first(i), biases.empty() ? biases : biases.first(i), x, nullptr, outs.first(i));
        return MultiplyTokens(weights.subspan(i), biases.empty() ? biases : biases.subspan(i), x, nullptr,
                              outs.subspan(i));
      }
      input = &row.input;
    }
    panels += AsCpu(*weights[i]).packed.geometry.panels;
  }
  if (panels == 0) return;
  const WorkSplit split = SplitWork(panels, x.rows, static_cast<std::size_t>(pool_.threads()));
  if (input != nullptr) PackInput(x, norm, *input, split);

  ForNeighbours(panels * split.parts, [&](std::size_t piece, int thread) {
    std::size_t panel = piece / split.parts;  // the parts of a panel are neighbours, so that it is read once
    std::size_t i = 0;
    for (; panel >= AsCpu(*weights[i]).packed.geometry.panels; ++i) panel -= AsCpu(*weights[i]).packed.geometry.panels;
    const CpuWeight& weight = AsCpu(*weights[i]);
    const PanelGeometry& geometry = weight.packed.geometry;
    const std::size_t row = panel * kPanelRows;
    const std::size_t token = piece % split.parts * split.part_tokens;

    MatmulTile tile;
    tile.geometry = &geometry;
    tile.format = weight.packed.format;
    tile.panel = weight.packed.memory.data() + panel * geometry.panel_bytes;
    tile.rows = std::min(kPanelRows, geometry.rows - row);
    if (weight.kernel_row.takes_packed()) {
      tile.packed = reinterpret_cast<const std::uint32_t*>(input_.data()) + token * input->words_per_token(x.cols);
    } else {
      tile.x = x.data + token * x.stride;
      tile.x_stride = x.stride;
    }
    tile.m = std::min(split.part_tokens, x.rows - token);
    tile.y = outs[i].data + token * outs[i].stride + row;
    tile.y_stride = outs[i].stride;
    tile.workspace = Workspace(thread);
    tile.fetch_past_caches = fetch_past_caches_;
    const float* const bias = biases.empty() ? nullptr : biases[i];
    tile.store_past_caches = bias == nullptr && x.rows * outs[i].cols * sizeof(float) >= kBytesPastCaches;
    weight.kernel_row.matmul(tile);

    if (bias == nullptr) return;
    for (std::size_t t = 0; t < tile.m; ++t) {
      for (std::size_t r = 0; r < tile.rows; ++r) tile.y[t * tile.y_stride + r] += bias[row + r];
    }
  });
}

void CpuBackend::RmsNorm(const RmsNormArgs& norm) {
  ForRows(norm.x.rows, norm.x.cols, [&](std::size_t row) { NormRow(norm, row); });
}

void CpuBackend::Rope(MatrixView<float> x, std::size_t head_dim, MatrixView<const float> cos,
                      MatrixView<const float> sin) {
  MARLIN_CHECK(head_dim % 2 == 0 && x.cols % head_dim == 0 && cos.cols == head_dim / 2 && sin.cols == head_dim / 2,
               "shapes of rotary embedding");
  ForRows(x.rows, x.cols, [&](std::size_t i) {
    ops_.rope(x.Row(i).data(), x.cols / head_dim, head_dim, cos.Row(i).data(), sin.Row(i).data());
  });
}

void CpuBackend::Append(KvCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
                        MatrixView<const float> values) {
  CpuCache& to = static_cast<CpuCache&>(cache);
  const CacheShape& shape = to.shape();
  const std::size_t end = position + keys.rows;
  MARLIN_CHECK(keys.rows > 0 && keys.rows == values.rows && keys.cols == shape.kv_heads * shape.head_dim &&
                   values.cols == keys.cols && layer < shape.layers && end <= shape.context,
               "shapes of keys and values");
  // A piece is one head of one block: threads share no cache line.
  const std::size_t first = position / kKeyBlock;
  const std::size_t pieces = ((end - 1) / kKeyBlock - first + 1) * shape.kv_heads;
  const auto store = [&](std::size_t piece, int) {
    const std::size_t head = piece % shape.kv_heads;
    const std::size_t begin = (first + piece / shape.kv_heads) * kKeyBlock;
    for (std::size_t p = std::max(begin, position); p < std::min(begin + kKeyBlock, end); ++p) {
      const std::size_t column = head * shape.head_dim;
      to.Set(layer, head, p, keys.Row(p - position).data() + column, values.Row(p - position).data() + column);
    }
  };
  if (keys.rows * keys.cols > kSerialElements) return ForPieces(pieces, store);
  for (std::size_t piece = 0; piece < pieces; ++piece) store(piece, 0);
}

void CpuBackend::Attention(const AttentionArgs& args, MatrixView<float> out) {
  const CpuCache& cache = static_cast<const CpuCache&>(*args.cache);
  const std::size_t kv_heads = cache.shape().kv_heads;
  const std::size_t head_dim = cache.shape().head_dim;
  MARLIN_CHECK(kv_heads > 0 && args.heads % kv_heads == 0 && args.q.cols == args.heads * head_dim &&
                   args.layer < cache.shape().layers && args.position + args.q.rows <= cache.shape().context,
               "shapes of attention");
  const std::size_t sharing = args.heads / kv_heads;  // query heads per kv head
  const std::size_t tile_heads = std::min(sharing, kAttentionHeads);
  const std::size_t tile_positions = std::max<std::size_t>(1, kAttentionRows / tile_heads);
  const std::size_t head_tiles = (sharing + tile_heads - 1) / tile_heads;
  const std::size_t position_tiles = (args.q.rows + tile_positions - 1) / tile_positions;
  const std::size_t per_position = kv_heads * head_tiles;

  const auto attend = cache.half() ? ops_.attention_half : ops_.attention;

  ForPieces(position_tiles * per_position, [&](std::size_t piece, int thread) {
    // Late positions see the most keys: they go first, so that the last pieces are small.
    const std::size_t first = (position_tiles - 1 - piece / per_position) * tile_positions;
    const std::size_t kv_head = piece % per_position / head_tiles;
    const std::size_t shared = piece % head_tiles * tile_heads;
    const std::size_t column = (kv_head * sharing + shared) * head_dim;

    AttentionTile tile;
    tile.q = args.q.data + first * args.q.stride + column;
    tile.q_stride = args.q.stride;
    tile.positions = std::min(tile_positions, args.q.rows - first);
    tile.heads = std::min(tile_heads, sharing - shared);
    tile.head_dim = head_dim;
    tile.keys = cache.Keys(args.layer, kv_head);
    tile.values = cache.Values(args.layer, kv_head);
    tile.position = args.position + first;
    tile.scale = args.scale;
    tile.out = out.data + first * out.stride + column;
    tile.out_stride = out.stride;
    tile.workspace = Workspace(thread);
    attend(tile);
  });
}

void CpuBackend::GatedActivation(Activation activation, MatrixView<float> gate, MatrixView<const float> up) {
  MARLIN_CHECK(activation != Activation::kGelu, "no family that is run has it");
  const auto function = activation == Activation::kSilu ? ops_.silu : ops_.gelu_tanh;
  ForRows(gate.rows, gate.cols, [&](std::size_t i) { function(gate.Row(i).data(), up.Row(i).data(), gate.cols); });
}

void CpuBackend::Add(MatrixView<float> x, MatrixView<const float> y) {
  ForRows(x.rows, x.cols, [&](std::size_t i) { ops_.add(x.Row(i).data(), y.Row(i).data(), x.cols); });
}

double NllOf(const ExpSum& sum, float logit) {
  return std::log(sum.sum) + (static_cast<double>(sum.max) - static_cast<double>(logit));
}

void CpuBackend::CrossEntropy(MatrixView<const float> logits, std::span<const std::int32_t> targets,
                              std::span<double> nll) {
  MARLIN_CHECK(targets.size() == logits.rows && nll.size() == logits.rows, "one target per row");
  ForRows(logits.rows, logits.cols, [&](std::size_t i) {
    const std::span<const float> row = logits.Row(i);
    nll[i] = NllOf(ops_.exp_sum(row.data(), row.size()), row[static_cast<std::size_t>(targets[i])]);
  });
}

std::size_t PlaceOf(float value, std::span<const float> row) {
  return static_cast<std::size_t>(std::find(row.begin(), row.end(), value) - row.begin());
}

void CpuBackend::Divergence(MatrixView<const float> base, MatrixView<const float> other,
                            std::span<const std::int32_t> targets, std::span<TokenDivergence> out) {
  MARLIN_CHECK(base.rows == other.rows && base.cols == other.cols, "logits of the same shape");
  MARLIN_CHECK(targets.size() == base.rows && out.size() == base.rows, "one target per row");
  ForRows(base.rows, base.cols, [&](std::size_t i) {
    const std::span<const float> x = base.Row(i);
    const std::span<const float> y = other.Row(i);
    const ExpSum p = ops_.exp_sum(x.data(), x.size());
    const ExpSum q = ops_.exp_sum(y.data(), y.size());
    LogitPair pair{x.data(), y.data(), p.max, q.max, 0, 0};
    pair.ratio = static_cast<float>(p.sum / q.sum);
    pair.shift = static_cast<float>(static_cast<double>(q.max) - static_cast<double>(p.max) - std::log(p.sum / q.sum));
    const auto target = static_cast<std::size_t>(targets[i]);
    out[i] = {ops_.divergence(pair, x.size()) / p.sum, NllOf(p, x[target]), NllOf(q, y[target]),
              PlaceOf(p.max, x) == PlaceOf(q.max, y)};
  });
}

std::string KernelNames() {
  std::string names;
  for (const KernelRow& row : Kernels()) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

}  // namespace

Result<KernelOptions> UsableKernels(const CpuOptions& options) {
  const IsaSet host = HostIsa();
  const KernelRow* const row = FindKernel(options.kernel);
  // A row that is asked for may need more than is usual.
  const IsaSet isa = options.isa.value_or(UsualIsa() | (row == nullptr ? 0 : row->needs & host));
  if (const IsaSet missing = isa & ~host; missing != 0) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{} was requested, but this machine has only {}", IsaNames(missing), IsaNames(host))};
  }
  const KernelOptions usable{isa, options.activations, options.kernel};
  if (options.kernel.empty()) return usable;
  if (row == nullptr) {
    return Error{ErrorCode::kUsage,
                 fmt::format("no kernel is called \"{}\"; want one of: {}", options.kernel, KernelNames())};
  }
  if (const IsaSet missing = row->needs & ~isa; missing != 0) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("kernel {} needs {}, which {}", row->name, IsaNames(missing),
                             (missing & ~host) != 0 ? "this machine lacks" : "--isa excludes")};
  }
  if (row->activations > options.activations) {
    return Error{ErrorCode::kUsage,
                 fmt::format("kernel {} rounds activations to {}, allowed is {}; want --activations {}", row->name,
                             NameOf(row->activations), NameOf(options.activations), NameOf(row->activations))};
  }
  return usable;
}

Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options) {
  constexpr int kMostThreads = 1024;
  const int threads = options.threads == 0 ? AvailableThreads() : options.threads;
  if (threads < 1 || threads > kMostThreads) {
    return Error{ErrorCode::kUsage, fmt::format("{} threads were requested; want 1 to {}", threads, kMostThreads)};
  }
  const Result<KernelOptions> kernels = UsableKernels(options);
  if (!kernels) return kernels.error();
  const std::size_t floats =
      std::max(kMatmulWorkspace, AttentionWorkspace(std::max(kAttentionRows, kAttentionHeads), kMaxHeadDim));
  std::vector<Region> workspaces;
  for (int t = 0; t < threads; ++t) {
    Result<Region> region = Region::Allocate(floats * sizeof(float), "the work space of a thread");
    if (!region) return region.error();
    workspaces.push_back(*std::move(region));
  }
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(threads, *kernels, std::move(workspaces)));
}

}  // namespace marlin
