// The folder of result records: one file per record, written atomically, checked when read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "records/external.h"
#include "records/record.h"

namespace marlin {

struct StoredRecord {
  Record record;
  std::string file;  // name inside the folder
};

struct StoredExternal {
  ExternalRecord record;
  std::string file;
};

struct LoadedRecords {
  std::vector<StoredRecord> records;  // by model name, configuration, time and id: the same whatever the folder's order
  std::vector<StoredExternal> external;  // by model name, program, time and id
  std::vector<std::string> warnings;     // one sentence each, naming the file
};

// Reads every *.json of the folder itself; hidden and temporary files (names that start with a dot) are not looked at.
// Broken, truncated and foreign files, and the older of two records with the same key, are left out with a warning. So
// is nothing when the folder is empty. A summary that its raw data do not give is warned about; the raw data count.
// Errors: kInput when the folder does not exist or cannot be read.
Result<LoadedRecords> LoadRecords(const std::filesystem::path& folder);

// "<model>-<config>-<first 12 digits of the id>.json", with every character outside [A-Za-z0-9._-] replaced. Records
// without a perplexity say what they hold: "<model>-<config>-speed-...", "-noise-floor-...". External ones:
// "<model>-external-<program>-...".
std::string RecordFileName(const Record& record);
std::string RecordFileName(const ExternalRecord& record);

// Writes folder/RecordFileName; the folder is made when it is missing. Returns the path. Errors: those of ToJson and of
// writing a file.
Result<std::filesystem::path> SaveRecord(const std::filesystem::path& folder, const Record& record);
Result<std::filesystem::path> SaveRecord(const std::filesystem::path& folder, const ExternalRecord& record);

}  // namespace marlin
