#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "base/check.h"

namespace marlin {
namespace {

// About 50 us of spinning at 3 GHz: longer than any gap between the operations of one forward pass.
constexpr int kSpins = 2000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `word` differs from `old`: spins, then sleeps.
void WaitForChange(const std::atomic<std::uint32_t>& word, std::uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  word.wait(old, std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  int spins = kSpins;  // 0 where the threads outnumber the cores: a spinning one would keep a working one waiting
  alignas(64) std::atomic<std::uint32_t> generation{0};  // raised by Run and by the destructor
  alignas(64) std::atomic<std::uint32_t> pending{0};     // workers still busy
  const std::function<void(int)>* job = nullptr;
  bool stop = false;  // written before generation is raised
  std::vector<std::thread> workers;
  std::atomic<bool> failed{false};
  std::exception_ptr failure;  // the first of a job; written by the thread that set `failed`

  void Call(const std::function<void(int)>& run, int thread) {
    try {
      run(thread);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }

  void Join() {
    stop = true;
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  MARLIN_CHECK(threads >= 1, "a pool needs a thread");
  if (threads > 1 && threads > AvailableThreads()) state_->spins = 0;
  try {
    for (int t = 1; t < threads; ++t) state_->workers.emplace_back([this, t] { Work(t); });
  } catch (...) {
    state_->Join();
    throw;
  }
}

ThreadPool::~ThreadPool() { state_->Join(); }

void ThreadPool::Work(int thread) {
  std::uint32_t seen = 0;
  for (;;) {
    WaitForChange(state_->generation, seen, state_->spins);
    ++seen;
    if (state_->stop) return;
    state_->Call(*state_->job, thread);
    if (state_->pending.fetch_sub(1, std::memory_order_acq_rel) == 1) state_->pending.notify_one();
  }
}

void ThreadPool::Run(const std::function<void(int)>& job) {
  if (threads_ == 1) return job(0);
  state_->job = &job;
  state_->pending.store(static_cast<std::uint32_t>(threads_ - 1), std::memory_order_relaxed);
  state_->generation.fetch_add(1, std::memory_order_release);
  state_->generation.notify_all();
  state_->Call(job, 0);
  for (std::uint32_t left; (left = state_->pending.load(std::memory_order_acquire)) != 0;) {
    WaitForChange(state_->pending, left, state_->spins);
  }
  if (state_->failed.load(std::memory_order_relaxed)) {
    state_->failed.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(state_->failure, nullptr));
  }
}

void ThreadPool::Split(std::size_t count, const std::function<void(std::size_t, std::size_t, int)>& job) {
  const auto parts = static_cast<std::size_t>(threads_);
  Run([&](int thread) {
    const auto t = static_cast<std::size_t>(thread);
    const std::size_t begin = count * t / parts;
    const std::size_t end = count * (t + 1) / parts;
    if (begin < end) job(begin, end, thread);
  });
}

namespace {

// cgroup v2 quota in cores, or 0 when there is none.
double CgroupQuota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace

int AvailableThreads() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
  if (const double quota = CgroupQuota(); quota > 0) count = std::min(count, static_cast<int>(std::ceil(quota)));
  return std::max(count, 1);
}

}  // namespace marlin
