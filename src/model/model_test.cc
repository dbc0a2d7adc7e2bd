// The forward pass against Hugging Face transformers, on tiny random checkpoints (tools/make_tiny_checkpoints.py).
#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "files/safetensors.h"
#include "formats/formats.h"
#include "kernels/test_device.h"
#include "model/device_memory.h"
#include "model/open_model.h"
#include "model/test_description.h"

namespace marlin {
namespace {

struct Expected {
  std::vector<std::int32_t> tokens;
  std::vector<float> prefill, decode;  // [tokens, vocab]
};

std::filesystem::path Folder(const std::string& name) {
  return std::filesystem::path(MARLIN_SOURCE_DIR) / "src/model/testdata" / name;
}

template <class T>
std::vector<T> Copy(const Tensor& tensor) {
  std::vector<T> values(tensor.elements());
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

// `name` is a folder, or a GGUF file beside the folder of the same model.
Expected LoadExpected(const std::string& name) {
  auto file = OpenSafetensors(Folder(name).replace_extension() / "expected.safetensors");
  MARLIN_CHECK(file.ok(), "test data");
  Expected expected;
  for (const Tensor& tensor : file->tensors) {
    if (tensor.name == "tokens") expected.tokens = Copy<std::int32_t>(tensor);
    if (tensor.name == "prefill") expected.prefill = Copy<float>(tensor);
    if (tensor.name == "decode") expected.decode = Copy<float>(tensor);
  }
  if (expected.decode.empty()) expected.decode = expected.prefill;
  return expected;
}

// max |difference| / max |logit|, the measure of docs/verification.md.
double RelativeError(std::span<const float> got, std::span<const float> want) {
  double difference = 0;
  double peak = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(got[i])) return INFINITY;
    difference = std::max(difference, std::abs(static_cast<double>(got[i]) - want[i]));
    peak = std::max(peak, std::abs(static_cast<double>(want[i])));
  }
  return difference / peak;
}

// Logits of `tokens` fed in pieces of `step` tokens.
std::vector<float> Logits(const Model& model, std::span<const std::int32_t> tokens, std::size_t step) {
  const std::size_t vocab = model.description.vocab_size;
  std::vector<float> logits(tokens.size() * vocab, NAN);
  auto session = Session::Create(model, tokens.size(), step);
  auto buffer = model.backend->Allocate(step * vocab);
  MARLIN_CHECK(session.ok() && buffer.ok(), "session");
  for (std::size_t i = 0; i < tokens.size(); i += step) {
    const auto part = tokens.subspan(i, std::min(step, tokens.size() - i));
    model.Logits(session->Forward(part), View(*buffer, part.size(), vocab));
    const std::span<float> rows = std::span(logits).subspan(i * vocab, part.size() * vocab);
    MARLIN_CHECK(model.backend->Read(View(*buffer, part.size(), vocab), rows).ok(), "logits");
  }
  return logits;
}

// The model, and whether it runs on the reference backend.
class AgainstTransformers : public testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  void SetUp() override {
    const auto& [name, reference] = GetParam();
    // Attention scores are not scaled in Gemma 4: transformers itself differs by 1.5e-5 from one step to another.
    limit_ = std::string(name).starts_with("tiny-gemma4") ? 5e-5 : 1e-5;
    expected_ = LoadExpected(name);
    backend_ = reference ? TestReference() : TestCpu();
    auto opened = OpenModel(Folder(name));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    auto model = LoadModel(opened->checkpoint, *backend_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = *std::move(model);
  }
  double limit_ = 0;
  Expected expected_;
  std::unique_ptr<Backend> backend_;
  Model model_;
};

TEST_P(AgainstTransformers, PrefillAndDecode) {
  EXPECT_LE(RelativeError(Logits(model_, expected_.tokens, expected_.tokens.size()), expected_.prefill), limit_);
  EXPECT_LE(RelativeError(Logits(model_, expected_.tokens, 1), expected_.decode), limit_);
  EXPECT_LE(RelativeError(Logits(model_, expected_.tokens, 7), expected_.decode), limit_);
}

TEST_P(AgainstTransformers, ResetForgetsTheSequence) {
  auto session = Session::Create(model_, 40, 40);
  const std::vector<std::int32_t> other(40, 5);
  session->Forward(other);
  session->Reset();
  auto buffer = backend_->Allocate(expected_.prefill.size());
  ASSERT_TRUE(buffer.ok());
  const DeviceTensor logits = View(*buffer, 40, model_.description.vocab_size);
  model_.Logits(session->Forward(expected_.tokens), logits);
  EXPECT_LE(RelativeError(Values(*backend_, logits), expected_.prefill), limit_);
}

// Three sequences in two steps: what each has alone, bit for bit, and the third's place can stay empty.
TEST_P(AgainstTransformers, SequencesTogetherAreThoseAlone) {
  constexpr std::size_t kTokens = 12;
  const std::span<const std::int32_t> text(expected_.tokens);
  auto alone = Session::Create(model_, kTokens, kTokens);
  auto together = Session::Create(model_, kTokens, kTokens, 3);
  ASSERT_TRUE(alone.ok() && together.ok());
  for (const std::size_t sequences : {3, 2}) {
    together->Reset();
    for (const std::size_t begin : {0, 7}) {
      const std::size_t m = begin == 0 ? 7 : 5;
      std::vector<std::int32_t> tokens;
      for (std::size_t s = 0; s < sequences; ++s) {
        const auto part = text.subspan(s * kTokens + begin, m);
        tokens.insert(tokens.end(), part.begin(), part.end());
      }
      const DeviceTensor states = together->ForwardTogether(tokens, sequences);
      ASSERT_EQ(states.rows, sequences * m);
      for (std::size_t s = 0; s < sequences; ++s) {
        alone->Reset();
        const DeviceTensor own = alone->Forward(text.subspan(s * kTokens, begin + m)).Rows(begin, m);
        SCOPED_TRACE(testing::Message() << "sequence " << s << " from token " << begin);
        ExpectSameNumbers(Values(*backend_, own), Values(*backend_, states.Rows(s * m, m)));
      }
    }
  }
}

// Each on the slow reference backend too.
constexpr const char* kModels[] = {
    "tiny-llama",       "tiny-qwen2",      "tiny-qwen3",        "tiny-qwen3.gguf",      "tiny-gemma3",
    "tiny-gemma3.gguf", "tiny-mistral",    "tiny-ministral3",   "tiny-ministral3.gguf", "tiny-phi3",
    "tiny-phi3.gguf",   "tiny-smollm3",    "tiny-smollm3.gguf", "tiny-olmo2",           "tiny-olmo2.gguf",
    "tiny-olmo3",       "tiny-olmo3.gguf", "tiny-granite",      "tiny-granite.gguf",    "tiny-gemma2",
    "tiny-gemma2.gguf", "tiny-gemma4",     "tiny-gemma4.gguf",  "tiny-gemma4-e",        "tiny-gemma4-e.gguf",
    "tiny-glm4",        "tiny-glm4.gguf",  "tiny-glm",          "tiny-seed-oss",        "tiny-seed-oss.gguf",
    "tiny-gpt2",        "tiny-gpt2.gguf",  "tiny-gpt-neox",     "tiny-gpt-neox.gguf",
};

INSTANTIATE_TEST_SUITE_P(Families, AgainstTransformers, testing::Combine(testing::ValuesIn(kModels), testing::Bool()),
                         [](const auto& tested) {
                           std::string name = std::get<0>(tested.param);
                           std::ranges::replace_if(
                               name, [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name + (std::get<1>(tested.param) ? "_reference" : "_cpu");
                         });

TEST(Session, WhatAPositionCostsGivesEverySession) {
  for (const char* name : {"tiny-llama", "tiny-gemma3", "tiny-gemma4-e", "tiny-phi3", "tiny-gpt2"}) {
    const auto opened = OpenModel(Folder(name));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const PositionBytes exact = BytesOfPosition(opened->description, false);
    for (const std::size_t n : {1u, 7u, 64u}) {
      EXPECT_EQ(SessionBytes(opened->description, n, n), n * (exact.cache + exact.work)) << name;
    }
    const PositionBytes half = BytesOfPosition(opened->description, true);
    EXPECT_EQ(2 * half.cache, exact.cache) << name;
    EXPECT_EQ(half.work, exact.work) << name;
  }
}

TEST(LoadModel, NamesTheTensorThatDoesNotFit) {
  auto checkpoint = OpenCheckpoint(Folder("tiny-llama"));
  ASSERT_TRUE(checkpoint.ok());
  const auto backend = TestReference();
  checkpoint->config["intermediate_size"] = 96;
  const auto wrong_shape = LoadModel(*checkpoint, *backend);
  ASSERT_FALSE(wrong_shape.ok());
  EXPECT_EQ(wrong_shape.error().code, ErrorCode::kInput);
  EXPECT_NE(wrong_shape.error().message.find("model.layers.0.mlp.gate_proj.weight"), std::string::npos);
  EXPECT_NE(wrong_shape.error().message.find("[88, 32]"), std::string::npos);
  EXPECT_NE(wrong_shape.error().message.find("[96, 32]"), std::string::npos);

  checkpoint->config["intermediate_size"] = 88;
  checkpoint->config["num_hidden_layers"] = 3;
  const auto missing = LoadModel(*checkpoint, *backend);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("model.layers.2."), std::string::npos);
}

// Of the matrices and vectors in the formats that they get, and known before anything is loaded.
TEST(LoadModel, RefusesADeviceThatLacksTheMemory) {
  for (const char* name : {"tiny-llama", "tiny-gpt2"}) {
    const auto opened = OpenModel(Folder(name));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const Checkpoint& checkpoint = opened->checkpoint;
    FormatMap rounded;
    for (const Matrix& matrix : opened->description.blocks[0].matrices) rounded[matrix.name] = FindFormat("fp4-g32");
    for (const FormatMap& formats : {FormatMap(), rounded}) {
      for (const Precision precision : {Precision::kSixteenBit, Precision::kSource}) {
        GlassBackend glass(MakeReferenceBackend());
        const auto bytes = DeviceBytes(checkpoint, opened->description, glass, precision, formats);
        ASSERT_TRUE(bytes.ok()) << bytes.error().message;
        glass.SetFreeBytes(*bytes - 1);
        std::size_t loaded = 0;
        const auto count = [&](const Progress&) { ++loaded; };
        const auto refused = LoadModel(checkpoint, glass, precision, count, formats);
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code, ErrorCode::kResource);
        for (const std::size_t named : {*bytes, *bytes - 1}) {
          EXPECT_NE(refused.error().message.find(std::to_string(named) + " "), std::string::npos)
              << refused.error().message;
        }
        EXPECT_EQ(loaded, 0u);
        EXPECT_EQ(glass.queued(), 0u) << "nothing was uploaded";
        glass.SetFreeBytes(*bytes);
        const auto model = LoadModel(checkpoint, glass, precision, count, formats);
        ASSERT_TRUE(model.ok()) << model.error().message;
        std::size_t held = 0;
        for (const Parts* parts : AllParts(model->description)) {
          for (const Vector& vector : parts->vectors) held += 4 * vector.size;
        }
        const auto add = [&](const LoadedParts& parts) {
          for (const Linear& linear : parts.matrices) {
            held += glass.BytesToPack(linear.weight->format(), linear.weight->rows(), linear.weight->cols());
            if (linear.bias) held += linear.bias->bytes();
          }
        };
        add(model->weights.around);
        for (const LoadedParts& block : model->weights.blocks) add(block);
        EXPECT_EQ(held, *bytes) << "in the formats of what was loaded";
      }
    }
  }
}

TEST(LoadModel, RefusesNaN) {
  auto checkpoint = OpenCheckpoint(Folder("tiny-llama"));
  ASSERT_TRUE(checkpoint.ok());
  std::vector<std::uint8_t> poisoned;
  for (Tensor& tensor : checkpoint->tensors) {
    if (tensor.name != "model.layers.1.mlp.up_proj.weight") continue;
    poisoned.assign(tensor.bytes.begin(), tensor.bytes.end());
    poisoned[2 * 32 * 5] = 0xc0;  // row 5, first weight: bf16 NaN 0x7fc0
    poisoned[2 * 32 * 5 + 1] = 0x7f;
    tensor.bytes = poisoned;
  }
  const auto backend = TestReference();
  const auto model = LoadModel(*checkpoint, *backend);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.error().code, ErrorCode::kNumerical);
  EXPECT_NE(model.error().message.find("model.layers.1.mlp.up_proj.weight: row 5"), std::string::npos);
}

// Every linear layer but one rounded at load, against the same weights encoded by hand.
TEST(LoadModel, RoundsWhatItIsToldTo) {
  const auto checkpoint = OpenCheckpoint(Folder("tiny-llama"));
  ASSERT_TRUE(checkpoint.ok());
  const auto backend = TestReference();
  ThreadPool pool(3);
  const FormatRow& format = *FindFormat("int4-g64");  // zero points of eight rows share a word
  auto by_hand = LoadModel(*checkpoint, *backend);
  ASSERT_TRUE(by_hand.ok());
  FormatMap rounded;
  for (std::size_t b = 0; b < by_hand->description.blocks.size(); ++b) {
    const std::vector<Matrix>& matrices = by_hand->description.blocks[b].matrices;
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      if (b == 1 && m == kDownMatrix) continue;
      const std::string& stem = matrices[m].name;
      rounded[stem] = &format;
      const auto plain = EncodePlain(*checkpoint->Find(stem + ".weight"), Precision::kSixteenBit, pool);
      ASSERT_TRUE(plain.ok());
      std::vector<float> values(plain->rows * plain->cols);
      for (std::size_t r = 0; r < plain->rows; ++r) {
        DecodeRow(plain->view(), r, std::span(values).subspan(r * plain->cols, plain->cols));
      }
      auto weight = backend->Pack(Encode(format, {values.data(), plain->rows, plain->cols}).view());
      ASSERT_TRUE(weight.ok());
      by_hand->weights.blocks[b].matrices[m].weight = std::move(*weight);
    }
  }
  const auto model = LoadModel(*checkpoint, *backend, Precision::kSixteenBit, {}, rounded);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->weights.blocks[0].matrices[kQMatrix].weight->format(), format.info);
  EXPECT_EQ(model->weights.blocks[1].matrices[kDownMatrix].weight->format().group, 0);
  EXPECT_EQ(model->head().format().group, 0);
  const std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(Logits(*model, tokens, 7), Logits(*by_hand, tokens, 7));
}

}  // namespace
}  // namespace marlin
