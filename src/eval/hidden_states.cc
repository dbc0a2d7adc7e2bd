#include "eval/hidden_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"

namespace marlin {
namespace {

static_assert(std::endian::native == std::endian::little, "the file holds floats as they lie in memory");

constexpr std::size_t kDigest = 64;

std::string Header(const HiddenStatesId& id) {
  const nlohmann::ordered_json json = {{"file", "metal-marlin hidden states 1"},
                                       {"model", id.model_sha256},
                                       {"tokenizer", id.tokenizer_sha256},
                                       {"text", id.text_sha256},
                                       {"arithmetic", id.arithmetic},
                                       {"ctx", id.ctx},
                                       {"windows", id.windows},
                                       {"hidden", id.hidden}};
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  // Inputs that do not fit are replaced by their hash.
  if (text.size() >= kHiddenStatesHeader) text = Sha256Hex(text);
  text.resize(kHiddenStatesHeader - 1, ' ');
  return text + '\n';
}

std::span<const std::uint8_t> Bytes(std::span<const float> values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()};
}

}  // namespace

std::uint64_t HiddenStatesBytes(const HiddenStatesId& id) {
  return kHiddenStatesHeader +
         std::uint64_t{id.windows} * (std::uint64_t{id.ctx} * id.hidden * sizeof(float) + kDigest);
}

Result<HiddenStatesWriter> HiddenStatesWriter::Create(const std::filesystem::path& path, const HiddenStatesId& id) {
  auto file = AtomicFile::Create(path);
  if (!file) return file.error();
  if (auto status = file->Write(Header(id)); !status) return status.error();
  return HiddenStatesWriter(std::move(*file), id.windows);
}

Status HiddenStatesWriter::Add(std::span<const float> hidden) {
  MARLIN_CHECK(missing_ > 0, "more windows than the header says");
  missing_ -= 1;
  if (auto status = file_.Write(Bytes(hidden)); !status) return status;
  return file_.Write(Sha256Hex(Bytes(hidden)));
}

Status HiddenStatesWriter::Commit() {
  MARLIN_CHECK(missing_ == 0, "fewer windows than the header says");
  return file_.Commit();
}

Result<HiddenStatesReader> HiddenStatesReader::Open(const std::filesystem::path& path, const HiddenStatesId& id) {
  auto file = MappedFile::Open(path);
  if (!file) return file.error();
  const std::span<const std::uint8_t> bytes = file->bytes();
  const std::string header = Header(id);
  if (bytes.size() < header.size() || std::memcmp(bytes.data(), header.data(), header.size()) != 0) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: these hidden states belong to another model, text or arithmetic; delete the file",
                             path.string())};
  }
  if (bytes.size() != HiddenStatesBytes(id)) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: has {} bytes, {} windows of hidden states have {}; delete the file", path.string(),
                             bytes.size(), id.windows, HiddenStatesBytes(id))};
  }
  return HiddenStatesReader(std::move(*file));
}

Status HiddenStatesReader::Read(std::size_t window, std::span<float> hidden) const {
  const std::size_t size = hidden.size_bytes();
  const std::span<const std::uint8_t> bytes =
      file_.bytes().subspan(kHiddenStatesHeader + window * (size + kDigest), size + kDigest);
  std::memcpy(hidden.data(), bytes.data(), size);
  const std::string_view digest(reinterpret_cast<const char*>(bytes.data() + size), kDigest);
  if (Sha256Hex(Bytes(hidden)) == digest) return {};
  return Error{ErrorCode::kCorrupt,
               fmt::format("{}: the hidden states of window {} do not match their hash; delete the file and run again",
                           file_.path().string(), window + 1)};
}

}  // namespace marlin
