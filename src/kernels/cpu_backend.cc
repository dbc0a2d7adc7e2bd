#include "kernels/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu_attention.h"
#include "kernels/cpu_cache.h"
#include "kernels/cpu_measures.h"
#include "kernels/cpu_workers.h"
#include "kernels/host_buffer.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/product.h"
#include "kernels/region.h"
#include "kernels/work_split.h"

namespace marlin {
namespace {

// Tokens that are multiplied in one go.
constexpr std::size_t kTokensAtOnce = kMaxTileTokens;
// Outputs of a product that are not kept in a core's cache while it is made.
constexpr std::size_t kBytesPastCaches = 2000000;

class CpuWeight final : public Weight {
 public:
  CpuWeight(const Device& device, PackedMatrix matrix, const KernelRow& row)
      : Weight(device), packed(std::move(matrix)), kernel_row(row) {}
  std::size_t rows() const override { return packed.geometry.rows; }
  std::size_t cols() const override { return packed.geometry.cols; }
  const FormatInfo& format() const override { return packed.format->info; }
  std::size_t resident_bytes() const override { return packed.geometry.bytes(); }
  std::string_view kernel() const override { return kernel_row.name; }
  Result<std::unique_ptr<Weight>> Clone() const override {
    auto memory = packed.memory.Clone();
    if (!memory) return memory.error();
    PackedMatrix copy{packed.format, packed.geometry, std::move(*memory)};
    return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(*device(), std::move(copy), kernel_row));
  }

  const PackedMatrix packed;
  const KernelRow& kernel_row;
};

// NormArgs in host memory.
struct HostNorm {
  MatrixView<const float> x;
  const float* weight = nullptr;  // null = ones
  float eps = 0;
  MatrixView<float> y;
  NormKind kind = NormKind::kRms;
  const float* bias = nullptr;  // null = none

  HostNorm Rows(std::size_t begin, std::size_t count) const {
    return {x.Rows(begin, count), weight, eps, y.Rows(begin, count), kind, bias};
  }
};

// One of the weights that an input is multiplied with.
struct Product {
  const CpuWeight& weight;
  const float* bias;  // null = none
  MatrixView<float> out;

  const KernelRow& row() const { return weight.kernel_row; }
  const PanelGeometry& geometry() const { return weight.packed.geometry; }
};

class CpuBackend final : public Backend {
 public:
  // workspaces: one for each thread.
  CpuBackend(KernelOptions options, std::vector<Region> workspaces)
      : workers_(std::move(workspaces)), forced_(options.forced), options_(options), ops_(OpsFor(options.isa)) {
    options_.forced = forced_;
  }

  std::string_view name() const override { return "cpu"; }
  std::string arithmetic() const override {
    return fmt::format("cpu/{}/{}{}{} v{}", HighestLevel(options_.isa), NameOf(RoughestActivations(options_)),
                       forced_.empty() ? "" : "/", forced_, kArithmeticVersion);
  }
  int threads() const override { return workers_.threads(); }
  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override;
  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override { UploadToHost(*this, from, to); }
  void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) override { DownloadFromHost(*this, from, to); }
  void Copy(const DeviceTensor& from, const DeviceTensor& to) override { CopyOnHost(*this, from, to); }
  void Clear(const DeviceTensor& to) override { ClearOnHost(*this, to); }
  Status Synchronize() override { return {}; }  // everything has run
  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override;
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override;
  void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) override;
  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override;
  void Norm(const NormArgs& norm) override;
  void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                  std::span<const DeviceTensor> outs) override;
  void Rope(const RopeArgs& args) override;
  void Append(const AppendArgs& args) override;
  void Attention(const AttentionArgs& args, const DeviceTensor& out) override;
  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override;
  void Activate(Activation activation, const DeviceTensor& x) override;
  void Add(const DeviceTensor& x, const DeviceTensor& y, float factor) override;
  void Scale(const DeviceTensor& x, float factor) override;
  void SoftCap(const DeviceTensor& x, float cap) override;
  void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) override;
  void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                  const DeviceTensor& out) override;
  void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) override;
  void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) override;
  void AddGram(const DeviceTensor& x, const DeviceTensor& gram) override;

 private:
  Status ReserveInput(const PackedInput& input, std::size_t cols);
  // job(first token, tokens, the products of their rows) for at most kTokensAtOnce at a time.
  template <class Job>
  void ForTokens(std::size_t rows, const std::vector<Product>& products, Job job);
  // The tokens of each part together; x is y of `norm`, which is computed on the way, unless that is null.
  void PackInput(MatrixView<const float> x, const HostNorm* norm, const PackedInput& input, const WorkSplit& split);
  void MultiplyTokens(std::span<const Product> products, MatrixView<const float> x, const HostNorm* norm);
  void NormRow(const HostNorm& norm, std::size_t row) {
    const float* const x = norm.x.Row(row).data();
    float* const y = norm.y.Row(row).data();
    if (norm.kind == NormKind::kRms) return ops_.rms_norm(x, norm.weight, norm.eps, norm.x.cols, y);
    ops_.layer_norm(x, norm.weight, norm.bias, norm.eps, norm.x.cols, y);
  }
  // gate = activation(gate) * up, or activation(gate) where up is null.
  auto FunctionOf(Activation activation) const {
    switch (activation) {
      case Activation::kSilu:
        return ops_.silu;
      case Activation::kGeluTanh:
        return ops_.gelu_tanh;
      case Activation::kGelu:
        break;
    }
    return ops_.gelu;
  }
  template <class T>
  MatrixView<T> Host(const DeviceTensor& tensor) const {
    return HostView<T>(*this, tensor);
  }
  // A row of `cols` numbers; null where there is no tensor.
  const float* HostRow(const DeviceTensor& row, std::size_t cols) const {
    if (row.buffer == nullptr) return nullptr;
    MARLIN_CHECK(row.cols == cols, "size of a row of weights or biases");
    return Host<const float>(row).data;
  }
  HostNorm Host(const NormArgs& norm) const;
  std::vector<Product> Products(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                                std::size_t rows, std::size_t cols, std::span<const DeviceTensor> outs) const;

  CpuWorkers workers_;
  std::string forced_;
  KernelOptions options_;  // its `forced` points into forced_
  const OpsTable& ops_;
  const bool fetch_past_caches_ = ReadsFasterPastCaches();
  RegionPool weights_;  // in the order of execution, as models load them
  RegionPool buffers_;
  Region input_;  // packed activations: kTokensAtOnce tokens of the widest weight that takes them
};

Result<std::unique_ptr<Buffer>> CpuBackend::Allocate(std::size_t elements, ElementType type) {
  const std::size_t bytes = BytesToAllocate(elements, type);
  Result<Region> memory = buffers_.Allocate(bytes, "activations");
  if (!memory) return memory.error();
  return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(*this, *std::move(memory), bytes));
}

Result<std::unique_ptr<KvCache>> CpuBackend::AllocateCache(const CacheShape& shape) {
  const bool exact = RoughestActivations(options_) == Activations::kFp32;
  auto cache = CpuCache::Create(*this, shape, exact ? nullptr : ops_.to_half, buffers_);
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
  Result<PackedMatrix> packed = marlin::Pack(matrix, weights_, workers_.pool());
  if (!packed) return packed.error();
  return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(*this, *std::move(packed), **row));
}

void CpuBackend::Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) {
  const PackedMatrix& packed = Own<CpuWeight>(*this, table).packed;
  const auto ids = Host<const std::int32_t>(tokens);
  const auto to = Host<float>(out);
  MARLIN_CHECK(ids.cols == 1 && to.rows == ids.rows && to.cols == packed.geometry.cols, "shape of embedded tokens");
  workers_.ForRows(to.rows, to.cols,
                   [&](std::size_t i) { DecodePackedRow(packed, static_cast<std::size_t>(ids.Row(i)[0]), to.Row(i)); });
}

Status CpuBackend::ReserveInput(const PackedInput& input, std::size_t cols) {
  const std::size_t bytes = kTokensAtOnce * input.words_per_token(cols) * sizeof(std::uint32_t);
  if (input_.size() >= bytes) return {};
  Result<Region> memory = Region::Allocate(bytes, "packed activations");
  if (!memory) return memory.error();
  input_ = *std::move(memory);
  return {};
}

void CpuBackend::PackInput(MatrixView<const float> x, const HostNorm* norm, const PackedInput& input,
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
  workers_.pool().Split(all, share);
}

HostNorm CpuBackend::Host(const NormArgs& norm) const {
  const std::size_t cols = norm.x.cols;
  const HostNorm host{Host<const float>(norm.x), HostRow(norm.weight, cols), norm.eps, Host<float>(norm.y), norm.kind,
                      HostRow(norm.bias, cols)};
  MARLIN_CHECK(host.y.rows == host.x.rows && host.y.cols == cols, "shapes of a norm");
  MARLIN_CHECK(norm.kind == NormKind::kLayer || host.bias == nullptr, "the bias of a layer norm");
  return host;
}

std::vector<Product> CpuBackend::Products(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                                          std::size_t rows, std::size_t cols,
                                          std::span<const DeviceTensor> outs) const {
  MARLIN_CHECK(!weights.empty() && weights.size() == outs.size() && (biases.empty() || biases.size() == outs.size()),
               "one output per weight");
  std::vector<Product> products;
  products.reserve(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const CpuWeight& weight = Own<CpuWeight>(*this, *weights[i]);
    MARLIN_CHECK(weight.cols() == cols && outs[i].cols == weight.rows() && outs[i].rows == rows,
                 "shapes of a matrix product");
    const float* const bias = biases.empty() ? nullptr : HostRow(biases[i], weight.rows());
    products.push_back({weight, bias, Host<float>(outs[i])});
  }
  return products;
}

void CpuBackend::Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                        const DeviceTensor& x, std::span<const DeviceTensor> outs) {
  const auto input = Host<const float>(x);
  const std::vector<Product> products = Products(weights, biases, x.rows, x.cols, outs);
  ForTokens(input.rows, products, [&](std::size_t begin, std::size_t tokens, std::span<const Product> parts) {
    MultiplyTokens(parts, input.Rows(begin, tokens), nullptr);
  });
}

void CpuBackend::NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights,
                            std::span<const DeviceTensor> biases, std::span<const DeviceTensor> outs) {
  const HostNorm host = Host(norm);
  const std::vector<Product> products = Products(weights, biases, host.x.rows, host.x.cols, outs);
  // Packing is where a row is read, and where all that read it must agree.
  const PackedInput& first = products[0].row().input;
  for (const Product& product : products) {
    const KernelRow& row = product.row();
    if (!row.takes_packed() || row.input.pack != first.pack) return Backend::NormMatmul(norm, weights, biases, outs);
  }
  ForTokens(host.x.rows, products, [&](std::size_t begin, std::size_t tokens, std::span<const Product> parts) {
    const HostNorm part = host.Rows(begin, tokens);
    MultiplyTokens(parts, part.y, &part);
  });
}

template <class Job>
void CpuBackend::ForTokens(std::size_t rows, const std::vector<Product>& products, Job job) {
  if (rows <= kTokensAtOnce) return job(0, rows, products);
  for (std::size_t begin = 0; begin < rows; begin += kTokensAtOnce) {
    const std::size_t tokens = std::min(kTokensAtOnce, rows - begin);
    std::vector<Product> parts;
    for (const Product& all : products) parts.push_back({all.weight, all.bias, all.out.Rows(begin, tokens)});
    job(begin, tokens, parts);
  }
}

// At most kTokensAtOnce tokens.
void CpuBackend::MultiplyTokens(std::span<const Product> products, MatrixView<const float> x, const HostNorm* norm) {
  const PackedInput* input = nullptr;  // of all that take x packed
  std::size_t panels = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const KernelRow& row = products[i].row();
    if (row.takes_packed()) {
      // Weights of other formats may be served by rows that round otherwise.
      if (input != nullptr && input->pack != row.input.pack) {
        MARLIN_CHECK(norm == nullptr, "a norm is computed once");
        MultiplyTokens(products.first(i), x, nullptr);
        return MultiplyTokens(products.subspan(i), x, nullptr);
      }
      input = &row.input;
    }
    panels += products[i].geometry().panels;
  }
  if (panels == 0) return;
  const WorkSplit split = SplitWork(panels, x.rows, static_cast<std::size_t>(workers_.threads()));
  if (input != nullptr) PackInput(x, norm, *input, split);

  workers_.ForNeighbours(panels * split.parts, [&](std::size_t piece, int thread) {
    std::size_t panel = piece / split.parts;  // the parts of a panel are neighbours, so that it is read once
    std::size_t i = 0;
    for (; panel >= products[i].geometry().panels; ++i) panel -= products[i].geometry().panels;
    const auto& [weight, bias, out] = products[i];
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
    tile.y = out.data + token * out.stride + row;
    tile.y_stride = out.stride;
    tile.workspace = workers_.Workspace(thread);
    tile.fetch_past_caches = fetch_past_caches_;
    tile.store_past_caches = bias == nullptr && x.rows * out.cols * sizeof(float) >= kBytesPastCaches;
    weight.kernel_row.matmul(tile);

    if (bias == nullptr) return;
    for (std::size_t t = 0; t < tile.m; ++t) {
      for (std::size_t r = 0; r < tile.rows; ++r) tile.y[t * tile.y_stride + r] += bias[row + r];
    }
  });
}

void CpuBackend::Norm(const NormArgs& norm) {
  const HostNorm host = Host(norm);
  workers_.ForRows(host.x.rows, host.x.cols, [&](std::size_t row) { NormRow(host, row); });
}

void CpuBackend::Rope(const RopeArgs& args) {
  const auto x = Host<float>(args.x);
  const auto cos = Host<const float>(args.cos);
  const auto sin = Host<const float>(args.sin);
  const auto positions = Host<const std::int32_t>(args.positions);
  const std::size_t head_dim = args.head_dim;
  const std::size_t pairs = cos.cols;
  MARLIN_CHECK(head_dim > 0 && x.cols % head_dim == 0 && pairs <= head_dim / 2 && sin.cols == pairs &&
                   cos.rows == sin.rows && positions.rows == x.rows && positions.cols == 1,
               "shapes of rotary embedding");
  const auto rope = args.neighbours ? ops_.rope_neighbours : ops_.rope;
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) {
    const auto position = static_cast<std::size_t>(positions.Row(i)[0]);
    MARLIN_CHECK(position < cos.rows, "a position beyond the table");
    rope(x.Row(i).data(), x.cols / head_dim, head_dim, pairs, cos.Row(position).data(), sin.Row(position).data());
  });
}

void CpuBackend::Append(const AppendArgs& args) {
  const auto keys = Host<const float>(args.keys);
  const std::size_t position = FirstPosition(*this, args.positions, keys.rows);
  AppendToCache(Own<CpuCache>(*this, *args.cache), args.layer, position, keys, Host<const float>(args.values),
                workers_);
}

void CpuBackend::Attention(const AttentionArgs& args, const DeviceTensor& to) {
  const auto q = Host<const float>(args.q);
  const std::size_t position = FirstPosition(*this, args.positions, q.rows);
  Attend({Own<const CpuCache>(*this, *args.cache), args, q, position, Host<float>(to)}, ops_, workers_);
}

void CpuBackend::GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) {
  const auto x = Host<float>(gate);
  const auto y = Host<const float>(up);
  MARLIN_CHECK(x.rows == y.rows && x.cols == y.cols, "shapes of gate and up");
  const auto function = FunctionOf(activation);
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) { function(x.Row(i).data(), y.Row(i).data(), x.cols); });
}

void CpuBackend::Activate(Activation activation, const DeviceTensor& to) {
  const auto x = Host<float>(to);
  const auto function = FunctionOf(activation);
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) { function(x.Row(i).data(), nullptr, x.cols); });
}

void CpuBackend::Scale(const DeviceTensor& to, float factor) {
  const auto x = Host<float>(to);
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) { ops_.scale(x.Row(i).data(), factor, x.cols); });
}

void CpuBackend::SoftCap(const DeviceTensor& to, float cap) {
  MARLIN_CHECK(cap > 0, "the cap of numbers");
  const auto x = Host<float>(to);
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) { ops_.soft_cap(x.Row(i).data(), cap, x.cols); });
}

void CpuBackend::Add(const DeviceTensor& to, const DeviceTensor& from, float factor) {
  const auto x = Host<float>(to);
  const auto y = Host<const float>(from);
  MARLIN_CHECK(x.rows == y.rows && x.cols == y.cols, "shapes of a sum");
  workers_.ForRows(x.rows, x.cols, [&](std::size_t i) { ops_.add(x.Row(i).data(), y.Row(i).data(), factor, x.cols); });
}

void CpuBackend::CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) {
  CrossEntropyOf(Host<const float>(logits), Host<const std::int32_t>(targets), Host<double>(nll), ops_, workers_);
}

void CpuBackend::Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                            const DeviceTensor& out) {
  DivergenceOf(Host<const float>(base), Host<const float>(other), Host<const std::int32_t>(targets), Host<double>(out),
               ops_, workers_);
}

void CpuBackend::TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) {
  TopKOf(Host<const float>(x), Host<float>(values), Host<std::int32_t>(columns), workers_);
}

void CpuBackend::Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) {
  MomentsOf(Host<const float>(x), Host<double>(sums), Host<float>(largest), workers_);
}

void CpuBackend::AddGram(const DeviceTensor& x, const DeviceTensor& gram) {
  const auto rows = Host<const float>(x);
  const auto to = Host<float>(gram);
  MARLIN_CHECK(to.rows == rows.cols && to.cols == rows.cols, "shape of a Gram matrix");
  Multiply<float>({rows, rows, to, 1, true}, options_.isa, workers_.pool());
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
  const std::size_t floats = std::max(kMatmulWorkspace, kAttentionWorkspace);
  std::vector<Region> workspaces;
  for (int t = 0; t < threads; ++t) {
    Result<Region> region = Region::Allocate(floats * sizeof(float), "the work space of a thread");
    if (!region) return region.error();
    workspaces.push_back(*std::move(region));
  }
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(*kernels, std::move(workspaces)));
}

}  // namespace marlin
