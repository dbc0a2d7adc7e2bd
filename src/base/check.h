// MARLIN_CHECK: programmer errors end the program with file, line and reason. Always on.
#pragma once

namespace marlin {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line, const char* why);
}  // namespace marlin

#define MARLIN_CHECK(condition, why) \
  ((condition) ? static_cast<void>(0) : ::marlin::CheckFailed(#condition, __FILE__, __LINE__, why))
