// A fixed set of threads that run one function together. The caller is thread 0. Between jobs the workers spin for
// a short while, then sleep, so that back-to-back jobs (about four per transformer layer) start in under a
// microsecond and an idle program costs nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace marlin {

class ThreadPool {
 public:
  // threads >= 1. Throws std::system_error where the system starts no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls job(thread) once on every thread, 0 <= thread < threads(), and returns when all are done. Not reentrant.
  // What a job throws on any thread (out of memory) is thrown here, after all are done.
  void Run(const std::function<void(int thread)>& job);

  // Calls job(begin, end, thread) so that every index below count is covered once. Contiguous shares, fixed by
  // count and threads() alone: the same call gives the same split.
  void Split(std::size_t count, const std::function<void(std::size_t begin, std::size_t end, int thread)>& job);

 private:
  struct State;
  void Work(int thread);
  int threads_;
  std::unique_ptr<State> state_;
};

// Cores this process may use (affinity mask and cgroup quota respected), at least 1.
int AvailableThreads();

}  // namespace marlin
