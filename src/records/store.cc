#include "records/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "base/file.h"
#include "records/derive.h"
#include "records/record_json.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

// A record with 100,000 windows and as many samples has some 10 MB.
constexpr std::size_t kLargestRecordBytes = std::size_t{64} << 20;

struct Candidate {
  StoredRecord stored;
  std::optional<RecordSummary> summary;
};

Result<std::vector<fs::path>> ListFiles(const fs::path& folder) {
  std::error_code code;
  fs::directory_iterator it(folder, code);
  std::vector<fs::path> files;
  for (; !code && it != fs::directory_iterator(); it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with('.') || it->path().extension() != ".json") continue;
    files.push_back(it->path());
  }
  if (code) {
    return Error{ErrorCode::kInput,
                 fmt::format("cannot read the results folder {}: {}; `metal-marlin bench comparison` "
                             "makes one",
                             folder.string(), code.message())};
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The page names files as they stand beside it, so that it is the same on every machine.
std::string WithoutFolder(std::string message, const fs::path& path) {
  const std::size_t at = message.find(path.string());
  if (at == std::string::npos) return message;
  const std::string name = path.filename().string();
  message.replace(at, path.string().size(), name);
  if (message.starts_with(name + " ")) message.insert(name.size(), ":");
  return message;
}

Result<RecordFile> LoadOne(const fs::path& path) {
  Result<std::string> text = ReadFile(path, kLargestRecordBytes);
  if (!text) return Error{text.error().code, WithoutFolder(text.error().message, path)};
  return RecordFromJson(*text, path.filename().string());
}

auto Order(const StoredRecord& x) {
  return std::tie(x.record.model.name, x.record.config.id, x.record.created, x.record.id, x.file);
}

// Of records with the same key only the newest stays.
void DropRepeated(std::vector<Candidate>& all, std::vector<std::string>& warnings) {
  const auto newer = [](const Candidate& a, const Candidate& b) {
    const auto rank = [](const Candidate& x) {
      return std::tie(x.stored.record.created, x.stored.record.id, x.stored.file);
    };
    return rank(a) > rank(b);
  };
  std::sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
    const std::string& key_a = a.stored.record.key;
    const std::string& key_b = b.stored.record.key;
    return key_a != key_b ? key_a < key_b : newer(a, b);
  });
  std::vector<Candidate> kept;
  for (Candidate& candidate : all) {
    if (!kept.empty() && kept.back().stored.record.key == candidate.stored.record.key) {
      warnings.push_back(fmt::format("{}: {} has the same measurement and is newer; this file is left out",
                                     candidate.stored.file, kept.back().stored.file));
    } else {
      kept.push_back(std::move(candidate));
    }
  }
  all = std::move(kept);
}

// Of imports with the same key, which are the same, the first by name of the file stays.
void SortExternal(std::vector<StoredExternal>& all, std::vector<std::string>& warnings) {
  std::ranges::sort(all, {}, [](const StoredExternal& x) { return std::tie(x.record.key, x.file); });
  std::vector<StoredExternal> kept;
  for (StoredExternal& stored : all) {
    if (!kept.empty() && kept.back().record.key == stored.record.key) {
      warnings.push_back(
          fmt::format("{}: {} holds the same import; this file is left out", stored.file, kept.back().file));
    } else {
      kept.push_back(std::move(stored));
    }
  }
  all = std::move(kept);
  std::ranges::sort(all, {}, [](const StoredExternal& x) {
    return std::tie(x.record.model.name, x.record.program.name, x.record.measured, x.record.id);
  });
}

void CompareSummaries(const std::vector<Candidate>& all, std::vector<std::string>& warnings) {
  for (const Candidate& candidate : all) {
    if (!candidate.summary) continue;
    const std::string mismatch = DescribeMismatch(*candidate.summary, Summarize(candidate.stored.record));
    if (!mismatch.empty()) {
      warnings.push_back(fmt::format("{}: {}; the page shows what the raw data give", candidate.stored.file, mismatch));
    }
  }
}

std::string Sanitized(std::string_view text, std::size_t longest) {
  std::string out(text.substr(0, longest));
  for (char& c : out) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!plain) c = '_';
  }
  if (out.starts_with('.')) out[0] = '_';  // a hidden file would never be read again
  return out;
}

}  // namespace

Result<LoadedRecords> LoadRecords(const fs::path& folder) {
  Result<std::vector<fs::path>> files = ListFiles(folder);
  if (!files) return files.error();
  LoadedRecords loaded;
  std::vector<Candidate> all;
  for (const fs::path& path : *files) {
    Result<RecordFile> one = LoadOne(path);
    const std::string name = path.filename().string();
    if (!one) {
      loaded.warnings.push_back(one.error().message + "; the file is left out");
    } else if (auto* external = std::get_if<ExternalRecord>(&*one)) {
      loaded.external.push_back({std::move(*external), name});
    } else {
      ParsedRecord& parsed = std::get<ParsedRecord>(*one);
      all.push_back({{std::move(parsed.record), name}, parsed.summary});
    }
  }
  SortExternal(loaded.external, loaded.warnings);
  DropRepeated(all, loaded.warnings);
  CompareSummaries(all, loaded.warnings);
  for (Candidate& candidate : all) loaded.records.push_back(std::move(candidate.stored));
  std::sort(loaded.records.begin(), loaded.records.end(),
            [](const StoredRecord& a, const StoredRecord& b) { return Order(a) < Order(b); });
  std::sort(loaded.warnings.begin(), loaded.warnings.end());
  return loaded;
}

std::string RecordFileName(const Record& record) {
  const char* const kind = record.perplexity ? "" : record.noise_floor ? "noise-floor-" : "speed-";
  return fmt::format("{}-{}-{}{}.json", Sanitized(record.model.name, 80), Sanitized(record.config.id, 40), kind,
                     Sanitized(record.id, 12));
}

std::string RecordFileName(const ExternalRecord& record) {
  return fmt::format("{}-external-{}-{}.json", Sanitized(record.model.name, 80), Sanitized(record.program.name, 40),
                     Sanitized(record.id, 12));
}

namespace {

template <class T>
Result<fs::path> Save(const fs::path& folder, const T& record) {
  Result<std::string> text = ToJson(record);
  if (!text) return text.error();
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) {
    return Error{ErrorCode::kInput, fmt::format("cannot make the folder {}: {}", folder.string(), code.message())};
  }
  const fs::path path = folder / RecordFileName(record);
  if (Status status = WriteFileAtomic(path, *text); !status.ok()) return status.error();
  return path;
}

}  // namespace

Result<fs::path> SaveRecord(const fs::path& folder, const Record& record) { return Save(folder, record); }

Result<fs::path> SaveRecord(const fs::path& folder, const ExternalRecord& record) { return Save(folder, record); }

}  // namespace marlin
