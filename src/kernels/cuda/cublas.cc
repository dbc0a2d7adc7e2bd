#include "kernels/cuda/cublas.h"

#include <cublas_v2.h>
#include <dlfcn.h>
#include <fmt/format.h>

namespace marlin::cuda {
namespace {

Error NoCublas(const std::string& why) {
  return {ErrorCode::kUnsupported, fmt::format("cuBLAS {}: {}", CUBLAS_VER_MAJOR, why)};
}

Status StatusOf(cublasStatus_t code, const char* what) {
  if (code == CUBLAS_STATUS_SUCCESS) return {};
  return NoCublas(fmt::format("{} failed with status {}", what, static_cast<int>(code)));
}

}  // namespace

// Names with _v2 are those that cublas_v2.h gives the functions.
struct Cublas::Functions {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&cublasSgemm_v2) sgemm = nullptr;
  decltype(&cublasDgemm_v2) dgemm = nullptr;
  decltype(&cublasSsyrk_v2) ssyrk = nullptr;
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                         cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
                         cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
};

Result<std::unique_ptr<Cublas>> Cublas::Load(cudaStream_t stream) {
  std::unique_ptr<Cublas> out(new Cublas());
  const std::string name = fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR);
  out->library_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (out->library_ == nullptr) return NoCublas(dlerror());
  out->functions_ = std::make_unique<Functions>();
  Functions& functions = *out->functions_;
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(out->library_, symbol));
    return function != nullptr;
  };
  if (!find(functions.create, "cublasCreate_v2") || !find(functions.destroy, "cublasDestroy_v2") ||
      !find(functions.set_stream, "cublasSetStream_v2") || !find(functions.sgemm, "cublasSgemm_v2") ||
      !find(functions.set_workspace, "cublasSetWorkspace_v2") || !find(functions.ssyrk, "cublasSsyrk_v2") ||
      !find(functions.gemm, "cublasGemmEx") || !find(functions.dgemm, "cublasDgemm_v2")) {
    return NoCublas(name + " lacks a function");
  }
  cublasHandle_t handle = nullptr;
  if (auto status = StatusOf(functions.create(&handle), "to start"); !status) return status.error();
  out->handle_ = handle;
  if (auto status = StatusOf(functions.set_stream(handle, stream), "a stream"); !status) return status.error();
  return out;
}

Cublas::~Cublas() {
  if (handle_ != nullptr) functions_->destroy(static_cast<cublasHandle_t>(handle_));
  if (library_ != nullptr) dlclose(library_);
}

Status Cublas::UseWorkspace(void* memory, std::size_t bytes) {
  return StatusOf(functions_->set_workspace(static_cast<cublasHandle_t>(handle_), memory, bytes), "a workspace");
}

// cuBLAS has columns where this program has rows: its matrices are the transposed ones.
Status Cublas::Multiply(View<const float> x, const float* weights, View<float> out) {
  const float one = 1, zero = 0;
  const auto n = static_cast<int>(out.cols), m = static_cast<int>(x.rows), k = static_cast<int>(x.cols);
  return StatusOf(
      functions_->sgemm(static_cast<cublasHandle_t>(handle_), CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, weights, k,
                        x.data, static_cast<int>(x.stride), &zero, out.data, static_cast<int>(out.stride)),
      "a product");
}

Status Cublas::MultiplyHalves(const void* x, const void* weights, std::size_t k, View<float> out) {
  const float one = 1, zero = 0;
  const auto n = static_cast<int>(out.cols), m = static_cast<int>(out.rows), cols = static_cast<int>(k);
  return StatusOf(functions_->gemm(static_cast<cublasHandle_t>(handle_), CUBLAS_OP_T, CUBLAS_OP_N, n, m, cols, &one,
                                   weights, CUDA_R_16F, cols, x, CUDA_R_16F, cols, &zero, out.data, CUDA_R_32F,
                                   static_cast<int>(out.stride), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                  "a product");
}

Status Cublas::MultiplyToHalves(const void* x, const void* weights, std::size_t m, std::size_t n, std::size_t k,
                                void* out) {
  const float one = 1, zero = 0;
  const auto rows = static_cast<int>(n), tokens = static_cast<int>(m), cols = static_cast<int>(k);
  return StatusOf(functions_->gemm(static_cast<cublasHandle_t>(handle_), CUBLAS_OP_T, CUBLAS_OP_N, rows, tokens, cols,
                                   &one, weights, CUDA_R_16F, cols, x, CUDA_R_16F, cols, &zero, out, CUDA_R_16F, rows,
                                   CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                  "a product");
}

Status Cublas::AddGram(View<const float> x, View<float> gram) {
  const float one = 1;
  const auto m = static_cast<int>(x.rows), k = static_cast<int>(x.cols);
  return StatusOf(
      functions_->ssyrk(static_cast<cublasHandle_t>(handle_), CUBLAS_FILL_MODE_LOWER, CUBLAS_OP_N, k, m, &one, x.data,
                        static_cast<int>(x.stride), &one, gram.data, static_cast<int>(gram.stride)),
      "X^T X");
}

template <class T>
Status Cublas::MultiplyDense(View<const T> a, bool transposed, View<const T> b, T factor, bool adds, View<T> c) {
  const T beta = adds ? 1 : 0;
  const auto n = static_cast<int>(c.cols), m = static_cast<int>(c.rows), l = static_cast<int>(b.rows);
  const auto gemm = [&](auto function) {
    return function(static_cast<cublasHandle_t>(handle_), CUBLAS_OP_N, transposed ? CUBLAS_OP_T : CUBLAS_OP_N, n, m, l,
                    &factor, b.data, static_cast<int>(b.stride), a.data, static_cast<int>(a.stride), &beta, c.data,
                    static_cast<int>(c.stride));
  };
  if constexpr (sizeof(T) == sizeof(double)) {
    return StatusOf(gemm(functions_->dgemm), "a dense product");
  } else {
    return StatusOf(gemm(functions_->sgemm), "a dense product");
  }
}
template Status Cublas::MultiplyDense(View<const float>, bool, View<const float>, float, bool, View<float>);
template Status Cublas::MultiplyDense(View<const double>, bool, View<const double>, double, bool, View<double>);

}  // namespace marlin::cuda
