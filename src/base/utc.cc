#include "base/utc.h"

namespace marlin {

std::string UtcOf(std::time_t seconds) {
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string UtcNow() { return UtcOf(std::time(nullptr)); }

}  // namespace marlin
