#include "bench/operands.h"

#include "base/check.h"
#include "base/rng.h"
#include "formats/encoded_matrix.h"
#include "formats/formats.h"

namespace marlin {

std::vector<float> RandomMatrix(std::size_t count, std::uint64_t seed, double scale, ThreadPool& pool) {
  std::vector<float> values(count);
  pool.Split(count, [&](std::size_t begin, std::size_t end, int) {
    Rng rng(seed + begin);
    // Sum of three uniforms: bell-shaped, and ten times cheaper than a true normal.
    for (std::size_t i = begin; i < end; ++i) {
      values[i] = static_cast<float>(scale * 2 * (rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5));
    }
  });
  return values;
}

Result<std::unique_ptr<Buffer>> UploadHalfPairs(Backend& backend, MatrixView<const float> values, ThreadPool& pool) {
  MARLIN_CHECK(values.cols % 2 == 0, "pairs of fp16 numbers");
  const EncodedMatrix halves = Encode(*FindFormat("fp16"), values, pool);
  auto buffer = backend.Allocate(values.rows * values.cols / 2, ElementType::kI32);
  if (buffer) backend.Upload(halves.codes, View(*buffer, values.rows, values.cols / 2, ElementType::kI32));
  return buffer;
}

}  // namespace marlin
