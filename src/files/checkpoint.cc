#include "files/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/open_file.h"
#include "base/sha256.h"
#include "files/folder_reader.h"
#include "files/gguf.h"
#include "files/gguf_file_type.h"
#include "files/gguf_parts.h"
#include "files/gguf_to_hf.h"
#include "files/json_text.h"
#include "files/quantized_layout.h"
#include "files/safetensors.h"
#include "formats/formats.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {
using nlohmann::json;

constexpr std::size_t kMaxIndex = std::size_t{1} << 27;  // about 100 bytes a tensor
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// Files beside config.json and the weights that affect tokens, and so the numbers.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json",   "vocab.json",
                                           "merges.txt",     "special_tokens_map.json", "added_tokens.json"};

Error Bad(const fs::path& path, const std::string& what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", path.string(), what)};
}

// A link that leads nowhere counts: opening it says where it leads.
bool Exists(const fs::path& path) { return IsListed(path); }

Result<json> ParseObject(std::string_view text, const fs::path& path) {
  auto value = ParseJson(text, path.string());
  if (value.ok() && !value->is_object()) return Bad(path, "not a JSON object");
  return value;
}

Status AddTensor(Checkpoint& checkpoint, const fs::path& file, Tensor tensor) {
  if (!checkpoint.index.emplace(tensor.name, checkpoint.tensors.size()).second) {
    return Bad(file, fmt::format("tensor {} appears twice", tensor.name));
  }
  checkpoint.tensors.push_back(std::move(tensor));
  return {};
}

// Maps one safetensors file. Tensors whose name is in `elsewhere` are left out: another file has them.
Status AddSafetensors(Checkpoint& checkpoint, const fs::path& path, const std::set<std::string>& elsewhere) {
  auto file = OpenSafetensors(path);
  if (!file) return file.error();
  for (Tensor& tensor : file->tensors) {
    if (elsewhere.contains(tensor.name)) continue;
    if (auto status = AddTensor(checkpoint, path, std::move(tensor)); !status) return status;
  }
  checkpoint.files.push_back(std::move(file->file));
  return {};
}

// Shards are beside the index. A name that points elsewhere is an attack or an accident.
bool IsPlainShardName(const std::string& name) {
  return name.ends_with(".safetensors") && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// The index decides: each tensor is taken from the shard it names, and must be there. What shards hold beyond the index
// counts like the tensors of a single file.
Status AddShards(Checkpoint& checkpoint) {
  const fs::path path = checkpoint.path / kIndexFile;
  const auto text = ReadFile(path, kMaxIndex);
  if (!text) return text.error();
  const auto index = ParseObject(*text, path);
  if (!index) return index.error();
  const auto map = index->find("weight_map");
  if (map == index->end() || !map->is_object() || map->empty()) return Bad(path, "\"weight_map\" is missing or empty");
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !IsPlainShardName(shard.get_ref<const std::string&>())) {
      return Bad(path,
                 fmt::format("tensor {} lies in {}, want the plain name of a .safetensors file in the same folder",
                             tensor, shard.dump(-1, ' ', true)));
    }
    shards[shard.get<std::string>()].insert(tensor);
  }
  std::set<std::string> named;
  for (const auto& [shard, tensors] : shards) named.insert(tensors.begin(), tensors.end());
  for (const auto& [shard, tensors] : shards) {
    if (!Exists(checkpoint.path / shard)) {
      return Bad(path, fmt::format("the shard {} is missing; download the model again", shard));
    }
    std::set<std::string> elsewhere;
    std::ranges::set_difference(named, tensors, std::inserter(elsewhere, elsewhere.end()));
    if (auto status = AddSafetensors(checkpoint, checkpoint.path / shard, elsewhere); !status) return status;
    for (const std::string& tensor : tensors) {
      if (!checkpoint.index.contains(tensor))
        return Bad(path, fmt::format("tensor {} is not in the shard {}", tensor, shard));
    }
  }
  return {};
}

// Hugging Face's cache keeps a repository "some/fish" in "models--some--fish", and its files in a folder of
// "snapshots" that is named by a commit.
constexpr std::string_view kCachePrefix = "models--";
constexpr const char* kSnapshots = "snapshots";

// "some/fish" of "models--some--fish"; empty for other names.
std::string RepositoryOf(std::string_view folder) {
  if (!folder.starts_with(kCachePrefix)) return "";
  std::string name(folder.substr(kCachePrefix.size()));
  if (const std::size_t at = name.find("--"); at != std::string::npos) name.replace(at, 2, "/");
  return name;
}

// However the path is written: "models/x", "models/x/", ".".
fs::path WholePath(const fs::path& path) {
  std::error_code ignored;
  const fs::path whole = fs::absolute(path, ignored).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

// What people call a model that lies in this folder.
std::string FolderName(const fs::path& path) {
  const fs::path whole = WholePath(path);
  const fs::path parent = whole.parent_path();
  if (parent.filename() == kSnapshots) {
    if (std::string name = RepositoryOf(parent.parent_path().filename().string()); !name.empty()) return name;
  }
  return whole.filename().string();
}

// What people call a GGUF file: its name without the ending. One in the cache is called by its repository and, since a
// repository holds several, the end of its name: "some/fish:Q4_K_M" of "fish-Q4_K_M.gguf".
std::string GgufName(const fs::path& path) {
  const fs::path whole = WholePath(path);
  const std::string stem = GgufModelName(whole);
  for (fs::path folder = whole.parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
    const fs::path snapshots = folder.parent_path();
    if (snapshots.filename() != kSnapshots) continue;
    const std::string repository = RepositoryOf(snapshots.parent_path().filename().string());
    if (repository.empty()) continue;
    std::string end = stem;
    return repository + ":" + end.substr(end.find_last_of("-.") + 1);
  }
  return stem;
}

// Which snapshot to name instead of the folder of a cached repository; empty for other folders.
std::string NameASnapshot(const fs::path& path) {
  const fs::path whole = WholePath(path);
  const bool inside = whole.filename() == kSnapshots;
  const std::string repository = RepositoryOf((inside ? whole.parent_path() : whole).filename().string());
  if (repository.empty()) return "";
  const fs::path folder = inside ? path : path / kSnapshots;
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(folder, code); !code && it != fs::directory_iterator(); it.increment(code)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) names.push_back((folder / it->path().filename()).string());
  }
  if (names.empty())
    return fmt::format("is the cache of {} and holds no snapshot; download the model again", repository);
  std::sort(names.begin(), names.end());
  constexpr std::size_t kMost = 5;
  const bool more = names.size() > kMost;
  names.resize(std::min(names.size(), kMost));
  return fmt::format("is the cache of {}, not a model; name a snapshot of it: {}{}", repository,
                     fmt::join(names, " or "), more ? " ..." : "");
}

Result<Checkpoint> OpenFolder(const fs::path& path, AcceptedNames accepted, ConfigCheck check) {
  if (!Exists(path / "config.json")) {
    if (const std::string advice = NameASnapshot(path); !advice.empty()) {
      return Error{ErrorCode::kInput, fmt::format("{} {}", path.string(), advice)};
    }
    return Bad(path, "has no config.json; want a Hugging Face model folder or a GGUF file");
  }
  const auto text = ReadFile(path / "config.json", kMaxConfigBytes);
  if (!text) return text.error();
  auto checkpoint = CheckpointOfConfig(*text, path, std::move(accepted));
  if (!checkpoint) return checkpoint;
  Status status = check == nullptr ? Status() : check(*checkpoint);
  if (!status) return status.error();
  if (Exists(path / kSingleFile)) {
    status = AddSafetensors(*checkpoint, path / kSingleFile, {});
  } else if (Exists(path / kIndexFile)) {
    status = AddShards(*checkpoint);
  } else if (Exists(path / "pytorch_model.bin") || Exists(path / "pytorch_model.bin.index.json")) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: its weights are in pytorch_model.bin, which this program does not "
                             "read; convert them to safetensors",
                             path.string())};
  } else {
    return Bad(path, fmt::format("has a config.json but no weights: neither {} nor {}; download them into the folder",
                                 kSingleFile, kIndexFile));
  }
  if (!status) return status.error();
  if (status = TranslateFolder(*checkpoint); !status) return status.error();
  return checkpoint;
}

Result<Checkpoint> OpenGguf(const fs::path& path, AcceptedNames accepted) {
  auto parts = OpenGgufParts(path);
  if (!parts) return parts.error();
  auto view = TranslateGguf(parts->first, accepted);
  if (!view) return view.error();
  Checkpoint checkpoint;
  checkpoint.accepted = std::move(accepted);
  checkpoint.left_out = std::move(view->left_out);
  checkpoint.name_in_files = std::move(view->name_in_file);
  checkpoint.path = parts->first.file.path();
  checkpoint.name = GgufName(path);
  checkpoint.container = Container::kGguf;
  checkpoint.config = std::move(view->config);
  // Only a name: a number of another kind is no reason to refuse the file.
  if (const auto number = parts->first.Find<std::int64_t>("general.file_type"); number && *number != nullptr)
    checkpoint.file_type = FindGgufFileType(**number);
  for (Tensor& tensor : view->tensors) {
    if (auto status = AddTensor(checkpoint, path, std::move(tensor)); !status) return status.error();
  }
  checkpoint.files.push_back(std::move(parts->first.file));
  for (GgufFile& part : parts->others) checkpoint.files.push_back(std::move(part.file));
  return checkpoint;
}

// SHA-256 of a file, piece by piece, so that an interrupt takes effect.
Result<std::string> HashFile(const MappedFile& file) {
  const std::span<const std::uint8_t> bytes = file.bytes();
  constexpr std::size_t kPiece = std::size_t{1} << 23;
  Sha256 hash;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while hashing the model"};
    const auto piece = bytes.subspan(begin, std::min(kPiece, bytes.size() - begin));
    hash.Update(piece);
    file.Forget(piece);
  }
  return hash.HexDigest();
}

bool IsEmbeddingOrHead(std::string_view name) {
  constexpr std::array kParts = {std::string_view("embed_tokens"),      std::string_view("lm_head"),
                                 std::string_view("transformer.wte"),   std::string_view("transformer.wpe"),
                                 std::string_view("gpt_neox.embed_in"), std::string_view("embed_out")};
  return std::ranges::any_of(kParts, [&](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

// The type under which a tensor counts, and its weights; empty for tensors that do not count.
struct Counted {
  std::string type;
  std::size_t weights = 0;
};

Counted CountedAs(const Checkpoint& checkpoint, const Tensor& tensor) {
  if (IsEmbeddingOrHead(tensor.name)) return {};
  const std::string_view name = tensor.name;
  if (name.ends_with(kPackedSuffix)) {
    const auto encoded = FindEncoded(checkpoint, name.substr(0, name.size() - kPackedSuffix.size()));
    if (!encoded) return {};
    return {std::string(encoded->format->info.name), encoded->rows * encoded->cols};
  }
  if (tensor.shape.size() != 2 || !Info(tensor.dtype).is_weight || !name.ends_with(kWeightSuffix)) return {};
  return {std::string(Info(tensor.dtype).name), tensor.elements()};
}

std::map<std::string, std::size_t> WeightsByType(const Checkpoint& checkpoint) {
  std::map<std::string, std::size_t> weights;
  for (const Tensor& tensor : checkpoint.tensors) {
    const Counted counted = CountedAs(checkpoint, tensor);
    if (counted.weights != 0) weights[counted.type] += counted.weights;
  }
  return weights;
}

}  // namespace

const Tensor* Checkpoint::Find(std::string_view tensor_name) const {
  const auto found = index.find(std::string(tensor_name));
  return found == index.end() ? nullptr : &tensors[found->second];
}

Result<const Tensor*> Checkpoint::Get(std::string_view tensor_name) const {
  if (const Tensor* const tensor = Find(tensor_name)) return tensor;
  return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", path.string(), NameInFiles(tensor_name))};
}

std::string Checkpoint::NameInFiles(std::string_view tensor_name) const {
  return name_in_files ? name_in_files(tensor_name) : std::string(tensor_name);
}

void Checkpoint::Replace(std::vector<Tensor> all) {
  tensors = std::move(all);
  index.clear();
  for (std::size_t i = 0; i < tensors.size(); ++i) index.emplace(tensors[i].name, i);
}

void Checkpoint::Forget(const Tensor& tensor) const {
  for (const MappedFile& file : files) file.Forget(tensor.bytes);
}

void Checkpoint::LeaveOut(const std::function<bool(const Tensor&)>& leave_out) {
  std::vector<Tensor> kept;
  for (Tensor& tensor : tensors) {
    if (leave_out(tensor)) {
      left_out.push_back(NameInFiles(tensor.name));
    } else {
      kept.push_back(std::move(tensor));
    }
  }
  Replace(std::move(kept));
}

Result<Checkpoint> CheckpointOfConfig(std::string_view config_json, const fs::path& path, AcceptedNames accepted) {
  Checkpoint checkpoint;
  checkpoint.accepted = std::move(accepted);
  checkpoint.path = path;
  checkpoint.name = FolderName(path);
  checkpoint.container = Container::kSafetensors;
  if (auto status = ParseObject(config_json, path / "config.json").MoveTo(checkpoint.config); !status)
    return status.error();
  if (auto status = CheckQuantization(checkpoint); !status) return status.error();
  return checkpoint;
}

Result<Checkpoint> OpenCheckpoint(const fs::path& path, AcceptedNames accepted, ConfigCheck check) {
  const auto kind = KindOf(path);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    return Bad(path, fmt::format("no such model; want a Hugging Face model folder, a GGUF file, or {}", kPulledModel));
  }
  if (*kind == PathKind::kFolder) return OpenFolder(path, std::move(accepted), check);
  if (path.extension() == ".safetensors") {
    return Bad(path, "a lone safetensors file does not describe a model; name the folder that it lies in");
  }
  return OpenGguf(path, std::move(accepted));
}

Result<StoredWeight> FindWeight(const Checkpoint& checkpoint, std::string_view stem) {
  StoredWeight weight;
  weight.tensor = checkpoint.Find(fmt::format("{}.weight", stem));
  const bool is_encoded = checkpoint.Find(fmt::format("{}{}", stem, kPackedSuffix)) != nullptr;
  if (weight.tensor != nullptr && is_encoded) {
    return Bad(checkpoint.path,
               fmt::format("{} is there twice, plain and quantized", checkpoint.NameInFiles(weight.tensor->name)));
  }
  if (weight.tensor != nullptr) {
    const Tensor& tensor = *weight.tensor;
    if (tensor.shape.size() != 2 || tensor.elements() == 0 || !Info(tensor.dtype).is_weight) {
      return Bad(checkpoint.path,
                 fmt::format("tensor {} is {} [{}], want a matrix of weights", checkpoint.NameInFiles(tensor.name),
                             Info(tensor.dtype).name, fmt::join(tensor.shape, ", ")));
    }
    weight.rows = tensor.rows();
    weight.cols = tensor.cols();
    return weight;
  }
  if (!is_encoded)
    return Bad(checkpoint.path, fmt::format("tensor {} is missing", checkpoint.NameInFiles(WeightName(stem))));
  const auto encoded = FindEncoded(checkpoint, stem);
  if (!encoded) return encoded.error();
  weight.encoded = *encoded;
  weight.rows = encoded->rows;
  weight.cols = encoded->cols;
  return weight;
}

Result<std::string> HashCheckpoint(const Checkpoint& checkpoint) {
  std::map<std::string, std::string> hashes;  // file -> digest
  for (const MappedFile& file : checkpoint.files) {
    const auto digest = HashFile(file);
    if (!digest) return digest.error();
    // The name of a GGUF file means nothing, but the order of parts.
    const std::string gguf = hashes.empty() ? "gguf" : fmt::format("gguf {:05}", hashes.size());
    hashes[checkpoint.container == Container::kGguf ? gguf : file.path().filename().string()] = *digest;
  }
  if (checkpoint.container == Container::kSafetensors) {
    std::vector<std::string> names(std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
    names.emplace_back("config.json");
    // Read only where tokenizer.json is missing.
    if (!Exists(checkpoint.path / kTokenizerFiles[0])) names.insert(names.end(), {"tekken.json", "tokenizer.model"});
    for (const std::string& name : names) {
      if (!Exists(checkpoint.path / name)) continue;
      const auto file = MappedFile::Open(checkpoint.path / name);
      if (!file) return file.error();
      const auto digest = HashFile(*file);
      if (!digest) return digest.error();
      hashes[name] = *digest;
    }
  }
  std::string list;
  for (const auto& [name, digest] : hashes) list += fmt::format("{}  {}\n", digest, name);
  return Sha256Hex(list);
}

std::string WeightType(const Checkpoint& checkpoint) {
  const auto weights = WeightsByType(checkpoint);
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == weights.end() ? "unknown" : most->first;
}

std::string SourceType(const Checkpoint& checkpoint) {
  const auto weights = WeightsByType(checkpoint);
  const GgufFileType* const named = checkpoint.file_type;
  if (named != nullptr && weights.contains(std::string(Info(named->base).name))) return std::string(named->name);
  std::vector<std::string> formats;
  for (const auto& [type, count] : weights) {
    if (FindFormat(type) != nullptr) formats.push_back(type);
  }
  return formats.size() > 1 ? fmt::format("mixed ({})", fmt::join(formats, " + ")) : WeightType(checkpoint);
}

bool IsQuantizedSource(const Checkpoint& checkpoint) {
  return std::any_of(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                     [](const Tensor& tensor) { return Info(tensor.dtype).block_elements > 1; });
}

}  // namespace marlin
