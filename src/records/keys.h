// Keys of measurements: hashes of what decides their numbers, and of nothing else. Equal keys mean that a measurement
// exists already.
//
//   quality      model, tokenizer, text, protocol, configuration, calibration, versions of metric and method,
//   arithmetic;
//                not the processor, the threads, the program's version or its binary, and no timing
//   noise floor  the same of a baseline, and the arithmetic that it is compared with
//   speed        model, configuration, protocols, the program's binary and the machine
//   external     the bytes of the imported file, and which of its parts the record holds
//
// The functions read only fields that are known before anything is measured.
#pragma once

#include <cstddef>
#include <string>

#include "records/external.h"
#include "records/record.h"

namespace marlin {

// 64 hexadecimal digits each. The record has a perplexity.
std::string QualityKey(const Record& record);

// The record has a perplexity, that of the baseline. `other`: arithmetic of the second computation.
std::string NoiseFloorKey(const Record& record, const std::string& other, std::uint64_t windows);

// The record has a throughput. `kernels`: single kernels are timed too.
std::string SpeedKey(const Record& record, bool kernels);

// `sha256`: of the imported file; `part`: the records of one file are numbered from 0.
std::string ExternalKey(const std::string& sha256, std::size_t part);

// Equal: the same configuration of the same model, for tables and for joining quality with speed. Neither text nor
// windows count, and of the arithmetic only whether activations were rounded to 8 bits, which costs quality of its own.
std::string RowIdentity(const Record& record);

// What is measured at a record's id: the first digits of its key.
std::string IdOfKey(const std::string& key);

}  // namespace marlin
