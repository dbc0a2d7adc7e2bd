// Whether the weights of a model fit a device, by their sizes alone: before anything is uploaded.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "files/checkpoint.h"
#include "kernels/backend.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// Bytes of the device's memory that LoadWeights takes. Errors: those of FindMatrix.
Result<std::size_t> DeviceBytes(const Checkpoint& checkpoint, const Description& description, const Backend& backend,
                                Precision precision, const FormatMap& rounded);

// Errors: kResource (names needed and free bytes), those of DeviceBytes. A device without memory of its own takes all.
Status CheckDeviceMemory(const Checkpoint& checkpoint, const Description& description, const Backend& backend,
                         Precision precision, const FormatMap& rounded);

}  // namespace marlin
