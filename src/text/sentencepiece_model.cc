#include "text/sentencepiece_model.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <optional>

#include "text/unicode.h"
#include "text/vocabulary.h"

namespace marlin {
namespace {

enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  WireType type = WireType::kVarint;
  std::uint64_t value = 0;  // of all types but kBytes
  std::string_view bytes;   // of kBytes; points into the message
};

// Reads the fields of one message, one after the other.
class MessageReader {
 public:
  // `begin`: where the message stands in the file, for messages to people.
  MessageReader(std::string_view message, std::size_t begin) : message_(message), begin_(begin) {}

  bool AtEnd() const { return at_ == message_.size(); }
  std::size_t position() const { return begin_ + at_; }
  // Where the bytes of a field stand in the file.
  std::size_t PositionOf(const Field& field) const {
    return begin_ + static_cast<std::size_t>(field.bytes.data() - message_.data());
  }

  // Nothing where the message is cut short or has a type that no writer of today uses.
  std::optional<Field> Next() {
    const auto tag = Varint();
    if (!tag || *tag >> 3 == 0 || *tag >> 3 > 0x1fffffff) return std::nullopt;
    Field field;
    field.number = static_cast<std::uint32_t>(*tag >> 3);
    field.type = static_cast<WireType>(*tag & 7);
    switch (field.type) {
      case WireType::kVarint: {
        const auto value = Varint();
        if (!value) return std::nullopt;
        field.value = *value;
        return field;
      }
      case WireType::kFixed64:
        return Fixed(8, field);
      case WireType::kFixed32:
        return Fixed(4, field);
      case WireType::kBytes: {
        const auto size = Varint();
        if (!size || *size > message_.size() - at_) return std::nullopt;
        field.bytes = message_.substr(at_, static_cast<std::size_t>(*size));
        at_ += static_cast<std::size_t>(*size);
        return field;
      }
    }
    return std::nullopt;
  }

 private:
  std::optional<std::uint64_t> Varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ < message_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<Field> Fixed(std::size_t size, Field field) {
    if (size > message_.size() - at_) return std::nullopt;
    for (std::size_t i = 0; i < size; ++i) {
      field.value |= static_cast<std::uint64_t>(static_cast<unsigned char>(message_[at_ + i])) << (8 * i);
    }
    at_ += size;
    return field;
  }

  std::string_view message_;
  std::size_t begin_;
  std::size_t at_ = 0;
};

// Calls `take` with every field, which gives false for a field of the wrong type.
template <class Take>
Status ReadFields(MessageReader reader, std::string_view what, std::string_view where, const Take& take) {
  while (!reader.AtEnd()) {
    const std::size_t begin = reader.position();
    const auto field = reader.Next();
    if (!field) {
      return BrokenTokenizer(where, fmt::format("{} is cut short or damaged at byte {}; it is no tokenizer.model of "
                                                "SentencePiece",
                                                what, begin));
    }
    if (!take(reader, *field)) {
      return BrokenTokenizer(where,
                             fmt::format("field {} of {} at byte {} has the wrong type", field->number, what, begin));
    }
  }
  return {};
}

bool TakeFlag(const Field& field, bool& flag) {
  flag = field.value != 0;
  return field.type == WireType::kVarint;
}

bool TakeId(const Field& field, std::int32_t& id) {
  id = static_cast<std::int32_t>(static_cast<std::uint32_t>(field.value));
  return field.type == WireType::kVarint;
}

Status ReadPiece(const MessageReader& reader, std::string_view where, SentencePieceModel& model) {
  std::string_view piece;
  float score = 0;
  std::uint64_t type = 1;
  const std::size_t id = model.pieces.size();
  const Status status = ReadFields(reader, fmt::format("piece {}", id), where, [&](const auto&, const Field& field) {
    switch (field.number) {
      case 1:
        piece = field.bytes;
        return field.type == WireType::kBytes;
      case 2:
        score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
        return field.type == WireType::kFixed32;
      case 3:
        type = field.value;
        return field.type == WireType::kVarint;
      default:
        return true;
    }
  });
  if (!status) return status;
  if (piece.empty() || FindInvalidUtf8(piece)) {
    return BrokenTokenizer(where, fmt::format("piece {} is {}", id, piece.empty() ? "empty" : "not UTF-8"));
  }
  if (!std::isfinite(score)) return BrokenTokenizer(where, fmt::format("piece {} has the score {}", id, score));
  if (type < 1 || type > 6) return BrokenTokenizer(where, fmt::format("piece {} has the unknown type {}", id, type));
  model.pieces.emplace_back(piece);
  model.scores.push_back(score);
  model.types.push_back(static_cast<SentencePieceModel::PieceType>(type));
  return {};
}

Status ReadTrainer(const MessageReader& reader, std::string_view where, SentencePieceModel& model) {
  std::uint64_t type = static_cast<std::uint64_t>(model.model_type);
  const Status status = ReadFields(reader, "the trainer's part", where, [&](const auto&, const Field& field) {
    switch (field.number) {
      case 3:
        type = field.value;
        return field.type == WireType::kVarint;
      case 22:
        return TakeFlag(field, model.split_by_whitespace);
      case 24:
        return TakeFlag(field, model.treat_whitespace_as_suffix);
      case 35:
        return TakeFlag(field, model.byte_fallback);
      case 40:
        return TakeId(field, model.unknown);
      case 41:
        return TakeId(field, model.bos);
      case 42:
        return TakeId(field, model.eos);
      case 43:
        return TakeId(field, model.padding);
      default:
        return true;
    }
  });
  if (!status) return status;
  if (type < 1 || type > 4) return BrokenTokenizer(where, fmt::format("the model has the unknown type {}", type));
  model.model_type = static_cast<SentencePieceModel::ModelType>(type);
  return {};
}

Status ReadNormalizerPart(const MessageReader& reader, std::string_view where, SentencePieceModel& model) {
  return ReadFields(reader, "the normalizer's part", where, [&](const auto&, const Field& field) {
    switch (field.number) {
      case 2:
        model.precompiled_charsmap = field.bytes;
        return field.type == WireType::kBytes;
      case 3:
        return TakeFlag(field, model.add_dummy_prefix);
      case 4:
        return TakeFlag(field, model.remove_extra_whitespaces);
      case 5:
        return TakeFlag(field, model.escape_whitespaces);
      default:
        return true;
    }
  });
}

}  // namespace

Result<SentencePieceModel> ReadSentencePieceModel(std::string_view bytes, std::string_view where) {
  SentencePieceModel model;
  Status inner;
  const Status status =
      ReadFields(MessageReader(bytes, 0), "the file", where, [&](const MessageReader& reader, const Field& field) {
        if (field.number < 1 || field.number > 3) return true;
        if (field.type != WireType::kBytes) return false;
        const MessageReader part(field.bytes, reader.PositionOf(field));
        Status read = field.number == 1   ? ReadPiece(part, where, model)
                      : field.number == 2 ? ReadTrainer(part, where, model)
                                          : ReadNormalizerPart(part, where, model);
        if (inner && !read) inner = read;
        return true;
      });
  if (!inner) return inner.error();
  if (!status) return status.error();
  if (model.pieces.empty()) {
    return BrokenTokenizer(where, "the file has no pieces; it is no tokenizer.model of SentencePiece");
  }
  return model;
}

}  // namespace marlin
