// Result<T>: a value or an Error. The library reports every failure from outside this way. It never throws, prints or
// exits. The code of an Error is the exit code of the program.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace marlin {

// Exit codes of the program; documented in the README.
enum class ErrorCode : int {
  kFailure = 1,       // anything not named below
  kUsage = 2,         // flags that make no sense
  kInput = 3,         // missing or invalid file, tensor, text
  kResource = 4,      // not enough memory or disk
  kUnsupported = 5,   // valid input that this program cannot handle
  kThreshold = 6,     // a limit set by the user was exceeded
  kCorrupt = 7,       // bytes do not match their recorded hash
  kNumerical = 8,     // NaN or infinity where a number was needed
  kInterrupted = 130  // SIGINT
};

// One sentence a stranger can act on: what, where, got, want, what to do.
struct Error {
  ErrorCode code = ErrorCode::kFailure;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    MARLIN_CHECK(ok(), "Result without value");
    return std::get<0>(state_);
  }
  const T& value() const& {
    MARLIN_CHECK(ok(), "Result without value");
    return std::get<0>(state_);
  }
  T&& value() && {
    MARLIN_CHECK(ok(), "Result without value");
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    MARLIN_CHECK(!ok(), "Result without error");
    return std::get<1>(state_);
  }

  // Moves the value to a variable; an error leaves it as it is and is returned.
  template <class To>
  Result<void> MoveTo(To& to) &&;

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    MARLIN_CHECK(!ok(), "Status without error");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

template <class T>
template <class To>
Status Result<T>::MoveTo(To& to) && {
  if (!ok()) return error();
  to = std::get<0>(std::move(state_));
  return {};
}

}  // namespace marlin
