#include "hub/model_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>

namespace marlin {
namespace {

constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kShardIndexFile = "model.safetensors.index.json";

// Beside the weights. vocab.json and merges.txt count in the hash of a model; SHA256SUMS is what quantize wrote.
constexpr std::array kSmallFiles = {kConfigFile,
                                    "generation_config.json",
                                    "tokenizer.json",
                                    "tokenizer_config.json",
                                    "tokenizer.model",
                                    "tekken.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "SHA256SUMS"};

// Endings of weights that this program does not read.
constexpr std::array kOtherWeights = {".bin", ".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".h5", ".msgpack"};

constexpr std::size_t kMostListed = 40;

const RepoFile* FindFile(std::span<const RepoFile> files, std::string_view name) {
  const auto found = std::ranges::lower_bound(files, name, {}, &RepoFile::name);
  return found == files.end() || found->name != name ? nullptr : &*found;
}

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// A GGUF file, or the parts of one: "NAME-00001-of-00003.gguf", ...
struct GgufSet {
  std::string stem;  // path without the number of the part and the ending
  std::vector<const RepoFile*> parts;
  std::size_t count = 1;  // of parts that belong to it

  std::uint64_t size() const {
    std::uint64_t sum = 0;
    for (const RepoFile* part : parts) sum += part->size;
    return sum;
  }
};

constexpr std::string_view kGgufEnding = ".gguf";
constexpr std::size_t kPartDigits = 5;
constexpr std::size_t kPartSuffix = 1 + kPartDigits + 4 + kPartDigits;  // "-00001-of-00003"

std::optional<std::size_t> PartNumber(std::string_view digits) {
  std::size_t number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    number = 10 * number + static_cast<std::size_t>(c - '0');
  }
  return number;
}

// The number of parts that the stem's end promises; 0 where it is no part.
std::size_t PartsOf(std::string_view stem) {
  if (stem.size() <= kPartSuffix) return 0;
  const std::string_view suffix = stem.substr(stem.size() - kPartSuffix);
  if (suffix[0] != '-' || suffix.substr(1 + kPartDigits, 4) != "-of-") return 0;
  const auto number = PartNumber(suffix.substr(1, kPartDigits));
  const auto count = PartNumber(suffix.substr(kPartSuffix - kPartDigits));
  return number && count && *number >= 1 && *number <= *count ? *count : 0;
}

std::vector<GgufSet> ListGguf(std::span<const RepoFile> files) {
  std::map<std::pair<std::string, std::size_t>, GgufSet> found;
  for (const RepoFile& file : files) {
    if (!file.name.ends_with(kGgufEnding)) continue;
    std::string stem = file.name.substr(0, file.name.size() - kGgufEnding.size());
    const std::size_t count = PartsOf(stem);
    if (count != 0) stem.resize(stem.size() - kPartSuffix);
    GgufSet& gguf = found[{stem, count}];
    gguf.stem = stem;
    gguf.count = std::max<std::size_t>(count, 1);
    gguf.parts.push_back(&file);
  }
  std::vector<GgufSet> list;
  list.reserve(found.size());
  for (auto& [key, gguf] : found) list.push_back(std::move(gguf));
  return list;
}

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Projectors of images lie beside the models that they belong to.
bool IsProjector(const GgufSet& gguf) { return LowerCase(BaseName(gguf.stem)).starts_with("mmproj"); }

// Whether the user's word names the file: by its path, its name, or that without the ending.
bool IsNamedBy(const GgufSet& gguf, std::string_view word) {
  const auto is_part = [&](const RepoFile* part) { return part->name == word || BaseName(part->name) == word; };
  return std::ranges::any_of(gguf.parts, is_part) || gguf.stem == word || BaseName(gguf.stem) == word;
}

// Whether the name ends in the quantization, or lies in a folder that is called so.
bool HasQuantization(const GgufSet& gguf, std::string_view word) {
  const std::string quantization = LowerCase(word);
  const std::string path = LowerCase(gguf.stem);
  if (IsProjector(gguf) || quantization.find('/') != std::string::npos) return false;
  if (path.starts_with(quantization + "/") || path.find("/" + quantization + "/") != std::string::npos) return true;
  if (!path.ends_with(quantization)) return false;
  return path.size() == quantization.size() ||
         std::string_view("-._/").find(path[path.size() - quantization.size() - 1]) != std::string_view::npos;
}

std::string SizeText(std::uint64_t bytes) {
  const auto number = static_cast<double>(bytes);
  return bytes < 1'000'000'000 ? fmt::format("{:.1f} MB", number / 1e6) : fmt::format("{:.2f} GB", number / 1e9);
}

// "NAME (1.20 GB), NAME in 3 parts (30.00 GB)"
std::string ListText(const std::vector<GgufSet>& list) {
  std::vector<std::string> words;
  for (const GgufSet& gguf : list) {
    if (words.size() == kMostListed) {
      words.push_back(fmt::format("and {} more", list.size() - kMostListed));
      break;
    }
    const std::string parts = gguf.count == 1 ? "" : fmt::format(" in {} parts", gguf.count);
    const std::string name = gguf.count == 1 ? gguf.parts[0]->name : gguf.stem + std::string(kGgufEnding);
    words.push_back(fmt::format("{}{} ({})", name, parts, SizeText(gguf.size())));
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

Error OfRepository(const HubName& name, ErrorCode code, std::string_view what) {
  return {code, fmt::format("{}: {}", name.repository, what)};
}

Result<ModelFiles> TakeGguf(const HubName& name, const GgufSet& gguf) {
  std::vector<std::string> missing;
  for (std::size_t i = 1; i <= gguf.count && gguf.parts.size() < gguf.count; ++i) {
    const std::string part = fmt::format("{}-{:05}-of-{:05}{}", gguf.stem, i, gguf.count, kGgufEnding);
    const bool there = std::ranges::any_of(gguf.parts, [&](const RepoFile* file) { return file->name == part; });
    if (!there && missing.size() < kMostListed) missing.push_back(part);
  }
  if (!missing.empty()) {
    return OfRepository(name, ErrorCode::kInput,
                        fmt::format("{} of {} parts of a GGUF file are there; missing: {}", gguf.parts.size(),
                                    gguf.count, fmt::join(missing, ", ")));
  }
  ModelFiles out;
  for (const RepoFile* part : gguf.parts) out.files.push_back(*part);
  out.gguf = out.files[0].name;
  return out;
}

// The file that the user's word chooses.
Result<ModelFiles> ChooseGguf(const HubName& name, const std::vector<GgufSet>& list) {
  std::vector<GgufSet> chosen;
  std::ranges::copy_if(list, std::back_inserter(chosen), [&](const GgufSet& g) { return IsNamedBy(g, name.file); });
  if (chosen.empty()) {
    std::ranges::copy_if(list, std::back_inserter(chosen),
                         [&](const GgufSet& g) { return HasQuantization(g, name.file); });
  }
  if (chosen.size() == 1) return TakeGguf(name, chosen[0]);
  if (list.empty()) {
    return OfRepository(name, ErrorCode::kUsage,
                        fmt::format("there is no GGUF file here, so {} chooses nothing; leave "
                                    "it out",
                                    QuoteForeign(name.file)));
  }
  return OfRepository(name, ErrorCode::kUsage,
                      fmt::format("{} fits {} GGUF files; choose one of: {}", QuoteForeign(name.file),
                                  chosen.empty() ? "none of the" : fmt::format("{}", chosen.size()),
                                  ListText(chosen.empty() ? list : chosen)));
}

// Configuration, tokenizer and weights; nothing where there are no weights under the usual names.
Result<std::optional<ModelFiles>> TakeSafetensors(const HubName& name, std::span<const RepoFile> files,
                                                  const ReadIndex& read) {
  ModelFiles out;
  const RepoFile* const index = FindFile(files, kShardIndexFile);
  if (const RepoFile* const weights = FindFile(files, kWeightsFile)) {
    out.files.push_back(*weights);
  } else if (index != nullptr) {
    const auto text = read(*index);
    if (!text) return text.error();
    const auto shards = ParseShardNames(*text, fmt::format("{}: {}", name.repository, kShardIndexFile));
    if (!shards) return shards.error();
    std::vector<std::string> missing;
    for (const std::string& shard : *shards) {
      const RepoFile* const file = FindFile(files, shard);
      if (file != nullptr) out.files.push_back(*file);
      if (file == nullptr && missing.size() < kMostListed) missing.push_back(shard);
    }
    if (!missing.empty()) {
      return OfRepository(
          name, ErrorCode::kInput,
          fmt::format("{} names shards that are missing: {}", kShardIndexFile, fmt::join(missing, ", ")));
    }
    out.files.push_back(*index);
  } else {
    return std::optional<ModelFiles>();
  }
  if (FindFile(files, kConfigFile) == nullptr) {
    return OfRepository(name, ErrorCode::kInput, "there are weights but no config.json, which describes the model");
  }
  for (const char* small : kSmallFiles) {
    if (const RepoFile* const file = FindFile(files, small)) out.files.push_back(*file);
  }
  std::ranges::sort(out.files, {}, &RepoFile::name);
  return std::optional(std::move(out));
}

// Why nothing here is a model.
Error NoWeights(const HubName& name, std::span<const RepoFile> files) {
  std::vector<std::string> others;
  for (const RepoFile& file : files) {
    const bool is_weights =
        std::ranges::any_of(kOtherWeights, [&](const char* end) { return file.name.ends_with(end); });
    if (is_weights && others.size() < 5) others.push_back(file.name);
  }
  if (others.empty()) {
    return OfRepository(name, ErrorCode::kInput, "there are neither model.safetensors, its shards, nor a GGUF file");
  }
  return OfRepository(name, ErrorCode::kUnsupported,
                      fmt::format("its weights are only in {}, which this program does not read; look for a repository "
                                  "with model.safetensors or a GGUF file",
                                  fmt::join(others, ", ")));
}

}  // namespace

Result<ModelFiles> ChooseModelFiles(const HubName& name, std::span<const RepoFile> files, const ReadIndex& read) {
  const std::vector<GgufSet> list = ListGguf(files);
  if (!name.file.empty()) return ChooseGguf(name, list);
  auto folder = TakeSafetensors(name, files, read);
  if (!folder) return folder.error();
  if (*folder) return std::move(**folder);
  std::vector<GgufSet> models = list;
  std::erase_if(models, IsProjector);
  if (models.empty()) return NoWeights(name, files);
  if (models.size() == 1) return TakeGguf(name, models[0]);
  return OfRepository(
      name, ErrorCode::kUsage,
      fmt::format("there are {} GGUF files; choose one by its name or quantization, as in {}:Q4_K_M: {}", models.size(),
                  name.repository, ListText(models)));
}

}  // namespace marlin
