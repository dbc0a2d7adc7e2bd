// Claims: files by which processes on any machines that share a folder agree who runs a job. No server, and no locks of
// the file system.
//
// The file NAME.N appears at once and whole, by a hard link. It holds the host, the process and the time. The highest N
// counts. Its owner touches it from time to time. A claim is stale when its process is dead, which only its own host
// can tell, or when it was not touched for the expiry that it states, by the clock of the file system: clocks of hosts
// may differ. Who
// takes a stale claim makes NAME.N+1, which only one can.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace marlin {

// Who holds a claim.
struct ClaimHolder {
  std::string name;     // of the claim
  std::string host;     // for people; two machines may have one name
  std::string machine;  // boot and process namespace: the same only where process numbers mean the same
  std::int64_t process = 0;
  std::uint64_t start = 0;  // of the process, in the kernel's ticks; 0 = unknown
  std::string since;        // UTC, by the holder's clock
  std::int64_t expiry = 0;  // seconds; 0 = unknown

  bool is_here() const;  // on this machine
  bool is_own() const;   // of this process
};

class Claim {
 public:
  // expiry: of this claim, and of claims that do not state theirs. Errors: kInput (the folder cannot be written),
  // kResource (the disk is full).
  static Result<Claim> Take(const std::filesystem::path& folder, const std::string& name, std::chrono::seconds expiry);

  // Whether it is held by this object; else `holder` says who holds it.
  bool held() const { return state_ != nullptr; }
  const ClaimHolder& holder() const { return holder_; }
  void Release() { state_.reset(); }

 private:
  struct State;
  struct Ender {
    void operator()(State* state) const;
  };
  std::unique_ptr<State, Ender> state_;  // released when it goes
  ClaimHolder holder_;
};

// Everyone who holds a claim in the folder now. Stale claims are left out.
std::vector<ClaimHolder> ListClaims(const std::filesystem::path& folder, std::chrono::seconds expiry);

// Removes stale claims, files that killed processes left half made, and the folder if nothing is left in it. A claim
// that someone holds stays.
void SweepClaims(const std::filesystem::path& folder, std::chrono::seconds expiry);

// "host alpha, process 4711, since 2026-01-31T12:00:00Z"
std::string Describe(const ClaimHolder& holder);

}  // namespace marlin
