// libFuzzer's entry. MARLIN_FUZZ_FUNCTION is the function of the target that this program runs. With FUZZ_SAY set, it
// prints what the parser says of each input.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/target_list.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool says = std::getenv("FUZZ_SAY") != nullptr;
  const marlin::Status status = marlin::MARLIN_FUZZ_FUNCTION({data, size});
  MARLIN_CHECK(status.ok() || !status.error().message.empty(), "an error without a sentence");
  if (says) {
    std::fprintf(stderr, "%d: %s\n", status.ok() ? 0 : static_cast<int>(status.error().code),
                 status.ok() ? "accepted" : status.error().message.c_str());
  }
  return 0;
}
