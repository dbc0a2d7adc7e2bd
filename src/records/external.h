// The external record: what another program measured of a model, by a protocol of its own. Each is one JSON file beside
// the result records (record.h); docs/results_schema.md explains every field. It is a type of its own, so that no rank,
// plot, comparison or recommendation of this program's measurements can take such a number for one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

// In every file; as kRecordSchema and kRecordVersion.
inline constexpr std::string_view kExternalSchema = "metal-marlin.external";
inline constexpr std::uint64_t kExternalVersion = 1;

inline constexpr std::size_t kMostExternalMeasurements = 10'000;  // in one record, and in one imported file

namespace external {

struct Program {
  std::string name;                    // "llama-bench", "lm-evaluation-harness"
  std::optional<std::string> version;  // "build 5163 (8cf427ff)"
};

// The imported file.
struct Source {
  std::string file;  // name, without a path
  std::string sha256;
};

struct Model {
  std::string name;  // for people, without a path
  std::optional<std::string> description = std::nullopt;
};

struct Measurement {
  std::string what;                 // "pp512", "arc_easy acc"
  std::string protocol;             // how, in words
  double value = 0;                 // as the program gave it
  std::optional<std::string> unit;  // "tok/s"; none = what the metric says
  std::optional<double> error = std::nullopt;
  std::optional<std::string> error_kind = std::nullopt;  // "standard deviation", "standard error"; set with `error`
  std::optional<std::vector<double>> samples = std::nullopt;  // that the value is the mean of
};

}  // namespace external

struct ExternalRecord {
  std::string id;                       // as in Record
  std::string key;                      // hash of the imported bytes and the place in them (keys.h)
  std::optional<std::string> measured;  // UTC, "2025-01-31T23:59:59Z"
  std::string command;                  // that imported it
  external::Program program;
  external::Source source;
  external::Model model;
  std::optional<std::string> machine;
  std::optional<std::string> settings;  // that all measurements share, in words
  std::vector<external::Measurement> measurements;
};

}  // namespace marlin
