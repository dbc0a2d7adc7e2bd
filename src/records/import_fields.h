// For the importers: the fields of one JSON object of another program, read with the first error kept; and the
// importers themselves, one per program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "records/external.h"

namespace marlin {

// In bytes; names and settings are short. Every text of a record is bounded by it, and so the record.
inline constexpr std::size_t kLongestImportText = 1024;

class ImportFields {
 public:
  // `json` and `status` must outlive this. `where` names the file and the entry. `status` keeps the first error of all
  // that share it; here, that `json` is no object.
  ImportFields(const nlohmann::json& json, std::string where, Status& status);

  // Errors are kept, and a value without meaning is returned: a field that is missing or of another type.
  std::string Text(std::string_view name);  // not empty
  std::uint64_t Count(std::string_view name);
  double Number(std::string_view name, double low, double high);
  std::vector<double> Numbers(std::string_view name, double low, double high);  // at least one
  const nlohmann::json* Object(std::string_view name);                          // null after an error
  // A text, number or boolean as a text.
  std::string Scalar(std::string_view name);

  bool Has(std::string_view name) const { return Find(name) != nullptr; }  // null counts as absent
  std::optional<std::string> TextIf(std::string_view name);                // an empty one counts as absent
  std::optional<std::string> ScalarIf(std::string_view name);

  // Keeps "field "NAME" WHAT" unless there is an error already.
  void Refuse(std::string_view name, const std::string& what);
  bool ok() const { return status_->ok(); }
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json* Find(std::string_view name) const;
  // Refuses a value that is missing or another thing than was wanted.
  void Want(std::string_view name, const nlohmann::json* value, std::string_view wanted);

  const nlohmann::json* json_;
  std::string where_;
  Status* status_;
};

// The last part of a path of any system.
std::string WithoutPath(std::string_view path);

// "a, b": the words that are there.
std::string JoinWords(const std::vector<std::string>& words);

// The records without id, key, source and command. `entries`: the JSON of each result, with the name of its place.
struct ImportEntry {
  std::string where;
  nlohmann::json json;
};
Result<std::vector<ExternalRecord>> ImportLlamaBench(const std::vector<ImportEntry>& entries);
Result<std::vector<ExternalRecord>> ImportLmEval(const nlohmann::json& json, const std::string& where);

}  // namespace marlin
