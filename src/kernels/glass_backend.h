// For tests: a backend that behaves as a device with memory and a queue of its own, around one that computes on the
// host. It breaks programs that would work on the host alone:
//
// - operations run only in Synchronize, on another thread;
// - each buffer lies between pages that nobody can read, is poisoned, and cannot be read at all while nothing runs;
// - what a download will fill is poisoned until then.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/half.h"
#include "formats/descend_row.h"
#include "formats/round_row.h"
#include "kernels/backend.h"
#include "kernels/host_buffer.h"

namespace marlin {

// A NaN of every floating-point type, and -1.
inline constexpr int kPoisonByte = 0xff;

class GlassBackend final : public Backend {
 public:
  explicit GlassBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}
  ~GlassBackend() override { Run(); }

  std::string_view name() const override { return inner_->name(); }
  std::string arithmetic() const override { return inner_->arithmetic(); }
  std::optional<std::string> hardware() const override { return inner_->hardware(); }
  std::string_view rounding() const override { return inner_->rounding(); }
  int threads() const override { return inner_->threads(); }

  // So that sequences run together in the tests.
  std::size_t tokens_at_once() const override { return 40; }

  // What it says of its memory and cache, and whether it has yardsticks: nothing and no, unless a test says otherwise.
  std::optional<std::size_t> free_bytes() const override { return free_bytes_; }
  std::optional<std::size_t> cache_bytes() const override { return cache_bytes_; }
  Yardsticks* yardsticks() override { return has_yardsticks_ ? &yardsticks_ : nullptr; }
  void SetFreeBytes(std::size_t bytes) { free_bytes_ = bytes; }
  void SetCacheBytes(std::size_t bytes) { cache_bytes_ = bytes; }
  void OfferYardsticks() { has_yardsticks_ = true; }

  // The next operation fails.
  void FailNext(Error error) { failure_ = std::move(error); }
  std::size_t queued() const { return queue_.size(); }
  // Where a buffer lies. A read from there ends the program.
  const std::uint8_t* AddressForDeathTests(const Buffer& buffer) const {
    return Own<GlassBuffer>(*this, buffer).inner.data();
  }

  Result<std::unique_ptr<Buffer>> Allocate(std::size_t elements, ElementType type) override {
    const std::size_t bytes = BytesToAllocate(elements, type);
    auto pages = GuardedPages::Map(bytes);
    if (!pages) return pages.error();
    return std::unique_ptr<Buffer>(std::make_unique<GlassBuffer>(*this, std::move(*pages)));
  }

  void UploadBytes(std::span<const std::byte> from, const DeviceTensor& to) override {
    Queue(
        [this, copy = std::vector<std::byte>(from.begin(), from.end()), to] { inner_->UploadBytes(copy, Inner(to)); });
  }
  void DownloadBytes(const DeviceTensor& from, std::span<std::byte> to) override {
    std::memset(to.data(), kPoisonByte, to.size());
    Queue([this, from, to] { inner_->DownloadBytes(Inner(from), to); });
  }
  void Copy(const DeviceTensor& from, const DeviceTensor& to) override {
    Queue([this, from, to] { inner_->Copy(Inner(from), Inner(to)); });
  }
  void Clear(const DeviceTensor& to) override {
    Queue([this, to] { inner_->Clear(Inner(to)); });
  }
  Status Synchronize() override {
    Run();
    return std::exchange(status_, {});
  }

  DenseAlgebra* dense_algebra() override { return &algebra_; }
  Quantizer* quantizer() override { return &quantizer_; }

  Result<std::unique_ptr<KvCache>> AllocateCache(const CacheShape& shape) override {
    auto cache = inner_->AllocateCache(shape);
    if (!cache) return cache.error();
    return std::unique_ptr<KvCache>(std::make_unique<GlassCache>(*this, std::move(*cache)));
  }
  std::size_t BytesToPack(const FormatInfo& format, std::size_t rows, std::size_t cols) const override {
    return inner_->BytesToPack(format, rows, cols);
  }
  Result<std::unique_ptr<Weight>> Pack(const EncodedMatrixView& matrix) override {
    auto weight = inner_->Pack(matrix);
    if (!weight) return weight.error();
    return std::unique_ptr<Weight>(std::make_unique<GlassWeight>(*this, std::move(*weight)));
  }

  void Embed(const Weight& table, const DeviceTensor& tokens, const DeviceTensor& out) override {
    Queue([this, weight = Inner(table), tokens, out] { inner_->Embed(*weight, Inner(tokens), Inner(out)); });
  }
  void Matmul(std::span<const Weight* const> weights, std::span<const DeviceTensor> biases, const DeviceTensor& x,
              std::span<const DeviceTensor> outs) override {
    Queue([this, weights = Inner(weights), biases = Copy(biases), x, outs = Copy(outs)] {
      inner_->Matmul(weights, Inner(biases), Inner(x), Inner(outs));
    });
  }
  void Norm(const NormArgs& norm) override {
    Queue([this, norm] { inner_->Norm(Inner(norm)); });
  }
  void NormMatmul(const NormArgs& norm, std::span<const Weight* const> weights, std::span<const DeviceTensor> biases,
                  std::span<const DeviceTensor> outs) override {
    Queue([this, norm, weights = Inner(weights), biases = Copy(biases), outs = Copy(outs)] {
      inner_->NormMatmul(Inner(norm), weights, Inner(biases), Inner(outs));
    });
  }
  void Rope(const RopeArgs& args) override {
    Queue([this, args] {
      RopeArgs inner = args;
      for (DeviceTensor* tensor : {&inner.x, &inner.cos, &inner.sin, &inner.positions}) *tensor = Inner(*tensor);
      inner_->Rope(inner);
    });
  }
  void Append(const AppendArgs& args) override {
    Queue([this, args, cache = Own<GlassCache>(*this, *args.cache).inner.get()] {
      inner_->Append({cache, args.layer, Inner(args.positions), Inner(args.keys), Inner(args.values)});
    });
  }
  void Attention(const AttentionArgs& args, const DeviceTensor& out) override {
    Queue([this, args, out, cache = Own<GlassCache>(*this, *args.cache).inner.get()] {
      AttentionArgs inner = args;
      inner.cache = cache;
      for (DeviceTensor* tensor : {&inner.q, &inner.positions}) *tensor = Inner(*tensor);
      inner_->Attention(inner, Inner(out));
    });
  }
  void GatedActivation(Activation activation, const DeviceTensor& gate, const DeviceTensor& up) override {
    Queue([this, activation, gate, up] { inner_->GatedActivation(activation, Inner(gate), Inner(up)); });
  }
  void Activate(Activation activation, const DeviceTensor& x) override {
    Queue([this, activation, x] { inner_->Activate(activation, Inner(x)); });
  }
  void Add(const DeviceTensor& x, const DeviceTensor& y, float factor = 1) override {
    Queue([this, x, y, factor] { inner_->Add(Inner(x), Inner(y), factor); });
  }
  void Scale(const DeviceTensor& x, float factor) override {
    Queue([this, x, factor] { inner_->Scale(Inner(x), factor); });
  }
  void SoftCap(const DeviceTensor& x, float cap) override {
    Queue([this, x, cap] { inner_->SoftCap(Inner(x), cap); });
  }
  void CrossEntropy(const DeviceTensor& logits, const DeviceTensor& targets, const DeviceTensor& nll) override {
    Queue([this, logits, targets, nll] { inner_->CrossEntropy(Inner(logits), Inner(targets), Inner(nll)); });
  }
  void Divergence(const DeviceTensor& base, const DeviceTensor& other, const DeviceTensor& targets,
                  const DeviceTensor& out) override {
    Queue([this, base, other, targets, out] {
      inner_->Divergence(Inner(base), Inner(other), Inner(targets), Inner(out));
    });
  }
  void TopK(const DeviceTensor& x, const DeviceTensor& values, const DeviceTensor& columns) override {
    Queue([this, x, values, columns] { inner_->TopK(Inner(x), Inner(values), Inner(columns)); });
  }
  void Moments(const DeviceTensor& x, const DeviceTensor& sums, const DeviceTensor& largest) override {
    Queue([this, x, sums, largest] { inner_->Moments(Inner(x), Inner(sums), Inner(largest)); });
  }
  void AddGram(const DeviceTensor& x, const DeviceTensor& gram) override {
    Queue([this, x, gram] { inner_->AddGram(Inner(x), Inner(gram)); });
  }

 private:
  // Whole pages between two that cannot be read; the memory ends where the last page ends.
  class GuardedPages {
   public:
    static Result<GuardedPages> Map(std::size_t bytes) {
      const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
      GuardedPages pages;
      pages.bytes_ = bytes;
      pages.whole_ = bytes > SIZE_MAX - 3 * page ? SIZE_MAX : (bytes + page - 1) / page * page;
      void* const memory = pages.whole_ == SIZE_MAX ? MAP_FAILED
                                                    : mmap(nullptr, pages.whole_ + 2 * page, PROT_READ | PROT_WRITE,
                                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) return Error{ErrorCode::kResource, "no memory for a buffer of a test"};
      pages.begin_ = static_cast<std::uint8_t*>(memory) + page;
      std::memset(pages.begin_, kPoisonByte, pages.whole_);
      MARLIN_CHECK(mprotect(memory, pages.whole_ + 2 * page, PROT_NONE) == 0, "guard pages");
      return pages;
    }
    GuardedPages(GuardedPages&& other) noexcept { *this = std::move(other); }
    GuardedPages& operator=(GuardedPages&& other) noexcept {
      std::swap(begin_, other.begin_);
      std::swap(whole_, other.whole_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~GuardedPages() {
      if (begin_ == nullptr) return;
      const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
      munmap(begin_ - page, whole_ + 2 * page);
    }
    void Allow(bool access) const {
      MARLIN_CHECK(mprotect(begin_, whole_, access ? PROT_READ | PROT_WRITE : PROT_NONE) == 0, "access to a buffer");
    }
    std::span<std::uint8_t> memory() const { return {begin_ + whole_ - bytes_, bytes_}; }

   private:
    GuardedPages() = default;
    std::uint8_t* begin_ = nullptr;
    std::size_t whole_ = 0;
    std::size_t bytes_ = 0;
  };

  // Objects wait for the queue before they go.
  struct GlassBuffer final : Buffer {
    GlassBuffer(GlassBackend& device, GuardedPages memory)
        : Buffer(device), glass(device), pages(std::move(memory)), inner(*device.inner_, pages.memory()) {
      glass.buffers_.insert(this);
    }
    ~GlassBuffer() override {
      glass.Run();
      glass.buffers_.erase(this);
    }
    std::size_t bytes() const override { return inner.bytes(); }
    GlassBackend& glass;
    GuardedPages pages;
    HostBuffer inner;
  };
  struct GlassCache final : KvCache {
    GlassCache(GlassBackend& device, std::unique_ptr<KvCache> cache)
        : KvCache(device), glass(device), inner(std::move(cache)) {}
    ~GlassCache() override { glass.Run(); }
    std::size_t resident_bytes() const override { return inner->resident_bytes(); }
    GlassBackend& glass;
    std::unique_ptr<KvCache> inner;
  };
  struct GlassWeight final : Weight {
    GlassWeight(GlassBackend& device, std::unique_ptr<Weight> weight)
        : Weight(device), glass(device), inner(std::move(weight)) {}
    ~GlassWeight() override { glass.Run(); }
    std::size_t rows() const override { return inner->rows(); }
    std::size_t cols() const override { return inner->cols(); }
    const FormatInfo& format() const override { return inner->format(); }
    std::size_t resident_bytes() const override { return inner->resident_bytes(); }
    std::string_view kernel() const override { return inner->kernel(); }
    Result<std::unique_ptr<Weight>> Clone() const override {
      auto copy = inner->Clone();
      if (!copy) return copy.error();
      return std::unique_ptr<Weight>(std::make_unique<GlassWeight>(glass, std::move(*copy)));
    }
    GlassBackend& glass;
    std::unique_ptr<Weight> inner;
  };

  // Computed by the host.
  struct GlassYardsticks final : Yardsticks {
    explicit GlassYardsticks(GlassBackend& device) : glass(device) {}
    std::string_view product() const override { return "glass FP16"; }
    void SumWords(const DeviceTensor& from, const DeviceTensor& sum) override {
      glass.Queue([this, from, sum] {
        std::uint32_t total = 0;
        const auto words = glass.HostView<const std::int32_t>(from);
        for (std::size_t r = 0; r < words.rows; ++r) {
          for (const std::int32_t word : words.Row(r)) total += static_cast<std::uint32_t>(word);
        }
        glass.HostView<std::int32_t>(sum).Row(0)[0] = static_cast<std::int32_t>(total);
      });
    }
    void MultiplyHalfPairs(const DeviceTensor& x, const DeviceTensor& weights, const DeviceTensor& out) override {
      glass.Queue([this, x, weights, out] {
        const auto a = glass.Halves<const std::uint16_t>(x), b = glass.Halves<const std::uint16_t>(weights);
        const auto to = glass.Halves<std::uint16_t>(out);
        for (std::size_t t = 0; t < to.rows; ++t) {
          for (std::size_t r = 0; r < to.cols; ++r) {
            float total = 0;
            for (std::size_t i = 0; i < a.cols; ++i) total += HalfToFloat(a.Row(t)[i]) * HalfToFloat(b.Row(r)[i]);
            to.Row(t)[r] = FloatToHalf(total);
          }
        }
      });
    }
    GlassBackend& glass;
  };

  // Computed by the host, so that what needs it is tested.
  struct GlassAlgebra final : DenseAlgebra {
    explicit GlassAlgebra(GlassBackend& device) : glass(device) {}
    void MultiplyDense(const DenseProductArgs& args) override {
      glass.Queue([this, args] { args.c.type == ElementType::kF64 ? Multiply<double>(args) : Multiply<float>(args); });
    }
    void Symmetrize(const DeviceTensor& upper, const DeviceTensor& order, double factor,
                    const DeviceTensor& out) override {
      glass.Queue([this, upper, order, factor, out] {
        out.type == ElementType::kF64 ? Fill<double>(upper, order, factor, out)
                                      : Fill<float>(upper, order, factor, out);
      });
    }
    template <class T>
    void Multiply(const DenseProductArgs& args) {
      const auto a = glass.HostView<const T>(args.a), b = glass.HostView<const T>(args.b);
      const auto c = glass.HostView<T>(args.c);
      MARLIN_CHECK((args.transposed ? a.cols : a.rows) == c.rows && (args.transposed ? a.rows : a.cols) == b.rows &&
                       b.cols == c.cols,
                   "shapes of a dense product");
      std::vector<double> sums(c.cols);
      for (std::size_t i = 0; i < c.rows; ++i) {
        std::ranges::fill(sums, 0.0);
        for (std::size_t l = 0; l < b.rows; ++l) {
          const double own = args.transposed ? a.Row(l)[i] : a.Row(i)[l];
          for (std::size_t j = 0; j < c.cols; ++j) sums[j] += own * b.Row(l)[j];
        }
        for (std::size_t j = 0; j < c.cols; ++j) {
          c.Row(i)[j] = static_cast<T>(args.factor * sums[j] + (args.adds ? c.Row(i)[j] : 0));
        }
      }
    }
    template <class T>
    void Fill(const DeviceTensor& upper, const DeviceTensor& order, double factor, const DeviceTensor& out) {
      const auto from = glass.HostView<const float>(upper);
      const auto to = glass.HostView<T>(out);
      const auto place = [&](std::size_t i) {
        return order.buffer == nullptr ? i
                                       : static_cast<std::size_t>(glass.HostView<const std::int32_t>(order).Row(i)[0]);
      };
      for (std::size_t i = 0; i < to.rows; ++i) {
        for (std::size_t j = 0; j < to.cols; ++j) {
          const std::size_t row = place(i), column = place(j);
          to.Row(i)[j] = static_cast<T>(factor * from.Row(std::min(row, column))[std::max(row, column)]);
        }
      }
    }
    GlassBackend& glass;
  };

  // As kernels of a GPU compute it, a row after the other.
  struct GlassQuantizer final : Quantizer {
    explicit GlassQuantizer(GlassBackend& device) : glass(device) {}
    void SearchScales(const ScaleSearchArgs& args) override {
      glass.Queue([this, args] {
        const auto weights = glass.HostView<const float>(args.weights);
        const auto importance = glass.HostView<const float>(args.importance).Row(0);
        const auto group = static_cast<std::size_t>(args.format->info.group);
        for (std::size_t r = 0; r < weights.rows; ++r) {
          GroupParams* const params = ParamsOf(args.params, r);
          for (std::size_t low = 0; low < weights.cols; low += group) {
            const std::size_t width = std::min(group, weights.cols - low);
            const auto part = weights.Row(r).subspan(low, width), counts = importance.subspan(low, width);
            GroupParams& own = params[low / group];
            own = args.improves ? args.format->improve(part, counts, own) : args.format->search(part, counts);
          }
        }
      });
    }
    void Transpose(const DeviceTensor& from, const DeviceTensor& to) override {
      glass.Queue([this, from, to] {
        const auto source = glass.Words(from), target = glass.Words(to);
        for (std::size_t i = 0; i < source.rows; ++i) {
          for (std::size_t j = 0; j < source.cols; ++j) target.Row(j)[i] = source.Row(i)[j];
        }
      });
    }
    void PackCodes(const CodedTensors& matrix, const DeviceTensor& bytes) override {
      glass.Queue([this, matrix, bytes] {
        const auto codes = glass.Words(matrix.codes), packed = glass.Words(bytes);
        for (std::size_t j = 0; j < codes.rows; ++j) {
          for (std::size_t r = 0; r < codes.cols; ++r) {
            std::uint32_t& word = packed.Row(r)[j / 4];
            if (j % 4 == 0) word = 0;
            word |= codes.Row(j)[r] << (8 * (j % 4));
          }
        }
      });
    }
    void RoundBlock(const RoundBlockArgs& args) override {
      glass.Queue([this, args] {
        const auto weights = glass.HostView<const float>(args.matrix.weights);
        const auto codes = glass.HostView<std::int32_t>(args.matrix.codes);
        const auto feedback = glass.HostView<const double>(args.feedback);
        const auto fed = glass.HostView<double>(args.fed), errors = glass.HostView<double>(args.errors);
        const auto* const order = glass.HostView<const std::int32_t>(args.order).data;
        const auto* const pivots = glass.HostView<const double>(args.pivots).data;
        for (std::size_t r = 0; r < weights.cols; ++r) {
          args.matrix.format->round_row({fed.rows,
                                         order,
                                         {weights.data + r, weights.stride},
                                         ParamsOf(args.matrix.params, r),
                                         pivots,
                                         feedback.data,
                                         feedback.stride,
                                         {fed.data + r, fed.stride},
                                         {errors.data + r, errors.stride},
                                         {codes.data + r, codes.stride}});
        }
      });
    }
    void FindErrors(const CodedTensors& matrix, const DeviceTensor& to) override {
      glass.Queue([this, matrix, to] {
        const auto weights = glass.HostView<const float>(matrix.weights);
        const auto codes = glass.HostView<const std::int32_t>(matrix.codes);
        const auto errors = glass.HostView<float>(to);
        for (std::size_t j = 0; j < weights.rows; ++j) {
          for (std::size_t r = 0; r < weights.cols; ++r) {
            const auto code = static_cast<std::uint32_t>(codes.Row(j)[r]);
            float value = 0;
            const GroupParams& params =
                ParamsOf(matrix.params, r)[j / static_cast<std::size_t>(matrix.format->info.group)];
            matrix.format->decode({&code, 1}, params, {&value, 1});
            errors.Row(j)[r] = weights.Row(j)[r] - value;
          }
        }
      });
    }
    void DescendBlock(const DescendBlockArgs& args) override {
      glass.Queue([this, args] {
        const auto gradient = glass.HostView<float>(args.gradient);
        const std::size_t n = gradient.cols, width = gradient.rows;
        const auto weights = glass.HostView<const float>(args.matrix.weights).Rows(args.low, width);
        const auto codes = glass.HostView<std::int32_t>(args.matrix.codes).Rows(args.low, width);
        const auto errors = glass.HostView<float>(args.errors).Rows(args.low, width);
        const auto square = glass.HostView<const float>(args.square);
        std::vector<float> unit(width), curved(width), ones(width);
        const FormatRow& format = *args.matrix.format;
        for (std::size_t r = 0; r < n; ++r) {
          const bool changed = format.improve_row(
              {width,
               square.data,
               square.stride,
               {weights.data + r, weights.stride},
               {errors.data + r, errors.stride},
               {codes.data + r, codes.stride},
               ParamsOf(args.matrix.params, r) + args.low / static_cast<std::size_t>(format.info.group),
               {gradient.data + r, gradient.stride},
               {unit.data(), 1},
               {curved.data(), 1},
               {ones.data(), 1}});
          if (changed) glass.HostView<std::int32_t>(args.changed).Row(0)[0] = 1;
        }
      });
    }
    // Of a row.
    GroupParams* ParamsOf(const DeviceTensor& params, std::size_t row) const {
      return reinterpret_cast<GroupParams*>(glass.HostView<std::int32_t>(params).Row(row).data());
    }
    GlassBackend& glass;
  };

  template <class T>
  MatrixView<T> HostView(const DeviceTensor& tensor) const {
    return marlin::HostView<T>(*inner_, Inner(tensor));
  }
  // Elements of 4 bytes as they lie in memory.
  MatrixView<std::uint32_t> Words(DeviceTensor tensor) const {
    MARLIN_CHECK(BytesOf(tensor.type) == sizeof(std::uint32_t), "elements of 4 bytes");
    auto* const data = reinterpret_cast<std::uint32_t*>(HostBytes(*inner_, Inner(tensor)));
    return {data, tensor.rows, tensor.cols, tensor.stride};
  }
  // The numbers of pairs in int32.
  template <class T>
  MatrixView<T> Halves(const DeviceTensor& pairs) const {
    MARLIN_CHECK(pairs.type == ElementType::kI32 && pairs.stride == pairs.cols, "pairs of fp16 numbers");
    return {reinterpret_cast<T*>(HostBytes(*inner_, Inner(pairs))), pairs.rows, 2 * pairs.cols};
  }
  DeviceTensor Inner(DeviceTensor tensor) const {
    if (tensor.buffer != nullptr) tensor.buffer = &Own<GlassBuffer>(*this, *tensor.buffer).inner;
    return tensor;
  }
  std::vector<DeviceTensor> Inner(const std::vector<DeviceTensor>& tensors) const {
    std::vector<DeviceTensor> inner;
    for (const DeviceTensor& tensor : tensors) inner.push_back(Inner(tensor));
    return inner;
  }
  NormArgs Inner(const NormArgs& norm) const {
    NormArgs inner = norm;
    for (DeviceTensor* tensor : {&inner.x, &inner.weight, &inner.y, &inner.bias}) *tensor = Inner(*tensor);
    return inner;
  }
  const Weight* Inner(const Weight& weight) const { return Own<GlassWeight>(*this, weight).inner.get(); }
  std::vector<const Weight*> Inner(std::span<const Weight* const> weights) const {
    std::vector<const Weight*> inner;
    for (const Weight* weight : weights) inner.push_back(Inner(*weight));
    return inner;
  }
  static std::vector<DeviceTensor> Copy(std::span<const DeviceTensor> tensors) {
    return {tensors.begin(), tensors.end()};
  }

  void Queue(std::function<void()> operation) {
    if (failure_) {
      operation = [this, error = *std::exchange(failure_, std::nullopt)] {
        if (status_.ok()) status_ = error;
      };
    }
    queue_.push_back(std::move(operation));
  }

  void Run() {
    if (queue_.empty()) return;
    for (const GlassBuffer* buffer : buffers_) buffer->pages.Allow(true);
    std::thread([this] {
      for (const auto& operation : queue_) {
        if (status_.ok()) operation();  // after a failure nothing runs until Synchronize
      }
    }).join();
    for (const GlassBuffer* buffer : buffers_) buffer->pages.Allow(false);
    queue_.clear();
  }

  std::unique_ptr<Backend> inner_;
  std::vector<std::function<void()>> queue_;
  std::set<const GlassBuffer*> buffers_;
  std::optional<Error> failure_;
  Status status_;
  std::optional<std::size_t> free_bytes_, cache_bytes_;
  bool has_yardsticks_ = false;
  GlassYardsticks yardsticks_{*this};
  GlassAlgebra algebra_{*this};
  GlassQuantizer quantizer_{*this};
};

}  // namespace marlin
