#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace marlin {

void CheckFailed(const char* condition, const char* file, int line, const char* why) {
  std::fprintf(stderr, "metal-marlin: internal error at %s:%d: %s (%s). Please report it.\n", file, line, why,
               condition);
  std::abort();
}

}  // namespace marlin
