// Method `mse`: the scale and the zero point of every group are searched (formats/search.h). Independent of the format:
// it tries the candidates that the format proposes.
#pragma once

#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/backend.h"

namespace marlin {

// Settled: units are chosen for the params that were searched, and the params then improved with them. [n, groups] of
// weights [n, k]; importance [k], empty = all equal. The same bits for every number of threads.
std::vector<GroupParams> SearchAllParams(const FormatRow& format, MatrixView<const float> weights,
                                         std::span<const float> importance, ThreadPool& pool);

// The same bits, searched by a device that has a quantizer. weights [n, k] and params, as ScaleSearchArgs has them, lie
// there. Errors: kResource and those of the device.
Result<std::vector<GroupParams>> SearchAllParams(const FormatRow& format, const DeviceTensor& weights,
                                                 std::span<const float> importance, const DeviceTensor& params,
                                                 Backend& device);

// EncodeMse by such a device. weights without gaps. Errors: kResource and those of the device.
Result<EncodedMatrix> EncodeMseOnDevice(const FormatRow& format, MatrixView<const float> weights,
                                        std::span<const float> importance, Backend& device, ThreadPool& pool);

// weights [n, k], finite. The same bits for every number of threads.
EncodedMatrix EncodeMse(const FormatRow& format, MatrixView<const float> weights, std::span<const float> importance,
                        ThreadPool& pool);

}  // namespace marlin
