// Instructions that CUDA C++ has no name for. Addresses are those of shared memory, as 32-bit numbers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Hopper and newer: clusters, copies that a barrier of shared memory counts, and programmatic dependent launches.
// Kernels that need them are empty for older devices, which never run them (CanMultiplyRounded).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MARLIN_HAS_BULK_COPIES 0
#else
#define MARLIN_HAS_BULK_COPIES 1
#endif

namespace marlin::cuda {

__device__ inline std::uint32_t SharedAddress(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Barriers of shared memory that count arrivals, and bytes that copies bring.
__device__ inline void BarrierInit(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
__device__ inline void BarrierExpect(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void BarrierArrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// A warp arrives, of which all lanes have read what others may overwrite then. One lane arrives for all, which makes
// short passes of a loop some percent faster. compute-sanitizer's racecheck does not see that the lanes of a warp are
// together: for it, -DMARLIN_EVERY_LANE_ARRIVES compiles kernels in which every lane arrives.
#ifdef MARLIN_EVERY_LANE_ARRIVES
inline constexpr int kArrivalsOfWarp = 32;
__device__ inline void WarpArrive(std::uint32_t barrier, std::uint32_t) { BarrierArrive(barrier); }
#else
inline constexpr int kArrivalsOfWarp = 1;
__device__ inline void WarpArrive(std::uint32_t barrier, std::uint32_t lane) {
  __syncwarp();
  if (lane == 0) BarrierArrive(barrier);
}
#endif
__device__ inline void BarrierWait(std::uint32_t barrier, std::uint32_t phase) {
  asm volatile(
      "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\n"
      "DONE:\n}" ::"r"(barrier),
      "r"(phase)
      : "memory");
}
// The same for what other blocks of the cluster wrote.
__device__ inline void BarrierWaitForCluster(std::uint32_t barrier, std::uint32_t phase) {
  asm volatile(
      "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\n"
      "bra AGAIN;\nDONE:\n}" ::"r"(barrier),
      "r"(phase)
      : "memory");
}
// Barriers that were initialized become visible to the cluster and to copies.
__device__ inline void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// How long a line stays in the L2 cache.
__device__ inline std::uint64_t EvictFirst() {
  std::uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline std::uint64_t EvictLast() {
  std::uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
// bytes: a multiple of 16, as both addresses.
__device__ inline void CopyBulk(std::uint32_t to, const void* from, int bytes, std::uint32_t barrier,
                                std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
      : "memory");
}

// Programmatic dependent launch: the next kernel of the stream may start now; wait until those before have ended.
__device__ inline void LaunchNext() {
#if MARLIN_HAS_BULK_COPIES
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void WaitForPrevious() {
#if MARLIN_HAS_BULK_COPIES
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// What a kernel that is launched by LaunchEarly begins with, before it reads or writes what others do.
__device__ inline void AfterPrevious() {
  LaunchNext();
  WaitForPrevious();
}

__device__ inline void ClusterArrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ inline void ClusterWait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// All threads of the cluster wait for each other, and see what the others wrote to shared memory.
__device__ inline void ClusterSync() {
#if MARLIN_HAS_BULK_COPIES
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// The address of another block of the cluster that stands for this one.
__device__ inline std::uint32_t AddressInCluster(std::uint32_t address, int rank) {
  std::uint32_t out;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(out) : "r"(address), "r"(rank));
  return out;
}
__device__ inline float LoadInCluster(std::uint32_t from) {
  float v;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory");
  return v;
}
__device__ inline float4 LoadQuadInCluster(std::uint32_t from) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(from)
               : "memory");
  return v;
}
__device__ inline void StoreInCluster(std::uint32_t to, const float (&v)[4], std::uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
      "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "r"(barrier)
      : "memory");
}

// The same without a barrier: ClusterSync shows it to the other block.
__device__ inline void StoreInCluster(std::uint32_t to, const float (&v)[4]) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3])
               : "memory");
}

__device__ inline uint4 Load16(std::uint32_t from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from));
  return v;
}
__device__ inline std::uint32_t Load4(std::uint32_t from) {
  std::uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from));
  return v;
}
__device__ inline uint2 Load8(std::uint32_t from) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(from));
  return v;
}
__device__ inline std::uint32_t Load2(std::uint32_t from) {
  std::uint16_t v;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(from));
  return v;
}
__device__ inline std::uint32_t Load1(std::uint32_t from) {
  std::uint32_t v;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(v) : "r"(from));
  return v;
}
// 1, 2 or 4 words that lie together.
template <int kCount>
__device__ void LoadWords(std::uint32_t from, std::uint32_t* to) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  if constexpr (kCount == 1) {
    to[0] = Load4(from);
  } else if constexpr (kCount == 2) {
    const uint2 words = Load8(from);
    to[0] = words.x, to[1] = words.y;
  } else {
    const uint4 words = Load16(from);
    to[0] = words.x, to[1] = words.y, to[2] = words.z, to[3] = words.w;
  }
}
__device__ inline void Store16(std::uint32_t to, const float (&v)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3])
               : "memory");
}
// Four 8 x 8 matrices of 16-bit numbers; lane i gives the address of row i mod 8 of matrix i / 8.
__device__ inline void LoadMatrices(std::uint32_t (&out)[4], std::uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from));
}

// The same, each matrix transposed.
__device__ inline void LoadTransposed(std::uint32_t (&out)[4], std::uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from));
}

// 16 bytes, which arrive after WaitForCopies; zeros where `real` is false. Both addresses are multiples of 16.
__device__ inline void CopyAsync(std::uint32_t to, const void* from, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(real ? 16 : 0) : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kLeft of the committed groups have not arrived.
template <int kLeft>
__device__ inline void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// 16 bytes of the device's memory, or zeros. The address is a multiple of 16.
__device__ inline uint4 LoadOr0(const void* from, bool real) {
  return real ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
}

// (a & mask) | bits, in one instruction: the compiler takes two where both are constants.
__device__ inline std::uint32_t AndOr(std::uint32_t a, std::uint32_t mask, std::uint32_t bits) {
  std::uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(out) : "r"(a), "r"(mask), "r"(bits));
  return out;
}

// The word itself, which the compiler then keeps in a register. Otherwise it computes simple words again in every pass
// of a loop. All lanes of a warp call this together.
__device__ inline std::uint32_t Kept(std::uint32_t word) {
  std::uint32_t out, lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  asm volatile("shfl.sync.idx.b32 %0, %1, %2, 31, 0xffffffff;" : "=r"(out) : "r"(word), "r"(lane));
  return out;
}

// The word, of which the compiler does not know that it is the same in all lanes: it stays in their registers.
__device__ inline std::uint32_t OfEachLane(std::uint32_t word) {
  std::uint32_t out;
  asm volatile(
      "{\n.reg .pred p;\n.reg .u32 own, all;\nmov.u32 own, %%tid.x;\nmov.u32 all, %%ntid.x;\n"
      "setp.ge.u32 p, own, all;\nselp.u32 %0, 0, %1, p;\n}"
      : "=r"(out)
      : "r"(word));
  return out;
}

// Bytes of b:a: byte (nibble i) mod 8, or eight times its highest bit where the nibble is 8 or more.
__device__ inline std::uint32_t Permute(std::uint32_t a, std::uint32_t b, std::uint32_t which) {
  std::uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(which));
  return out;
}

// c [16 x 8] += a [16 x 16] * b [16 x 8], fp16 operands, fp32 sums.
__device__ inline void MultiplyAdd(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// d = c + a * b
__device__ inline void MultiplyAddTo(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                                     const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, "
      "%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
// c [16 x 8] += a [16 x 8] * b [8 x 8]
__device__ inline void MultiplyAddHalf(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}
// Two fp16 numbers each: a * b, and two E4M3 bytes, the lowest of a word.
__device__ inline std::uint32_t MultiplyHalves(std::uint32_t a, std::uint32_t b) {
  std::uint32_t out;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
  return out;
}
// One of two fp16 numbers, twice. Instructions that take it read it without one more.
__device__ inline std::uint32_t LowerTwice(std::uint32_t halves) {
  std::uint32_t out;
  asm("{\n.reg .b16 lower, upper;\nmov.b32 {lower, upper}, %1;\nmov.b32 %0, {lower, lower};\n}"
      : "=r"(out)
      : "r"(halves));
  return out;
}
__device__ inline std::uint32_t UpperTwice(std::uint32_t halves) {
  std::uint32_t out;
  asm("{\n.reg .b16 lower, upper;\nmov.b32 {lower, upper}, %1;\nmov.b32 %0, {upper, upper};\n}"
      : "=r"(out)
      : "r"(halves));
  return out;
}
__device__ inline std::uint32_t E4m3ToHalves(std::uint32_t bytes) {
  std::uint32_t out;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(out) : "h"(static_cast<std::uint16_t>(bytes)));
  return out;
}
__device__ inline std::uint32_t SubtractHalves(std::uint32_t a, std::uint32_t b) {
  std::uint32_t out;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(out) : "r"(a), "r"(b));
  return out;
}

// Threads of some warps of a block wait for each other.
__device__ inline void WaitForThreads(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

}  // namespace marlin::cuda
