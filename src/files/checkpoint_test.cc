#include "files/checkpoint.h"

#include <string>

#include "base/test_text.h"
#include "files/safetensors_writer.h"
#include "files/test_files.h"

namespace marlin {
namespace {
using nlohmann::json;

class Checkpoints : public TemporaryFolder {
 protected:
  void Safetensors(const std::vector<PlannedTensor>& plan, std::uint64_t shard = 1u << 30,
                   std::uint8_t fill = 0) const {
    auto writer = SafetensorsWriter::Create(folder_, plan, {}, shard);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    for (const PlannedTensor& tensor : plan) {
      const std::vector<std::uint8_t> bytes(*ByteSize(tensor.dtype, tensor.shape, ""), fill);
      ASSERT_TRUE(writer->Write(tensor.name, bytes).ok());
    }
    ASSERT_TRUE(writer->Commit().ok());
  }
  void Config(const json& config) const { Write("config.json", config.dump()); }

  void ExpectError(const Result<Checkpoint>& checkpoint, ErrorCode code, const std::string& part) const {
    ASSERT_FALSE(checkpoint.ok()) << part;
    EXPECT_EQ(checkpoint.error().code, code) << checkpoint.error().message;
    EXPECT_NE(checkpoint.error().message.find(part), std::string::npos) << checkpoint.error().message;
  }
};

TEST_F(Checkpoints, AFolder) {
  Config({{"model_type", "llama"}});
  Safetensors({{"model.layers.0.mlp.up_proj.weight", DType::kBF16, {4, 3}},
               {"model.embed_tokens.weight", DType::kF32, {90, 3}},
               {"model.norm.weight", DType::kF32, {90}}});
  for (const auto& path : {folder_, folder_ / ""}) {
    const auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->name, folder_.filename());
    EXPECT_EQ(checkpoint->config["model_type"], "llama");
    EXPECT_EQ(checkpoint->Find("model.norm.weight")->shape, (std::vector<std::size_t>{90}));
    EXPECT_EQ(checkpoint->Find("absent"), nullptr);
    EXPECT_EQ(SourceType(*checkpoint), "BF16") << "embedding and vectors do not count";
    const auto weight = FindWeight(*checkpoint, "model.layers.0.mlp.up_proj");
    ASSERT_TRUE(weight.ok());
    EXPECT_EQ(weight->rows, 4u);
    EXPECT_EQ(weight->cols, 3u);
    EXPECT_NE(weight->tensor, nullptr);
    EXPECT_FALSE(weight->encoded.has_value());
    EXPECT_EQ(FindWeight(*checkpoint, "model.norm").error().code, ErrorCode::kInput) << "a vector is no matrix";
    EXPECT_NE(FindWeight(*checkpoint, "lm_head").error().message.find("lm_head.weight is missing"), std::string::npos);
  }
}

TEST_F(Checkpoints, FoldersThatAreNoModels) {
  ExpectError(OpenCheckpoint(folder_ / "absent"), ErrorCode::kInput, "no such model");
  ExpectError(OpenCheckpoint(folder_ / "absent"), ErrorCode::kInput, "ORG/MODEL after `metal-marlin pull ORG/MODEL`");
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "config.json");
  Config(json::object());
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "no weights: neither model.safetensors");
  Write("pytorch_model.bin", "x");
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kUnsupported, "pytorch_model.bin");
  ExpectError(OpenCheckpoint(folder_ / "pytorch_model.bin"), ErrorCode::kInput, "GGUF");
  ExpectError(OpenCheckpoint(Write("lone.safetensors", "x")), ErrorCode::kInput, "folder");
  Write("config.json", "[1]");
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "not a JSON object");
  Write("config.json", "{");
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "not valid JSON");
}

class Shards : public Checkpoints {
 protected:
  void SetUp() override {
    TemporaryFolder::SetUp();
    Config(json::object());
    Safetensors({{"a", DType::kU8, {4}}, {"b", DType::kU8, {4}}, {"c", DType::kU8, {4}}}, 4);
  }
  void Index(const json& map) const { Write("model.safetensors.index.json", json{{"weight_map", map}}.dump()); }
  static constexpr const char* kOne = "model-00001-of-00003.safetensors";
  static constexpr const char* kTwo = "model-00002-of-00003.safetensors";
};

TEST_F(Shards, AreJoined) {
  const auto checkpoint = OpenCheckpoint(folder_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->files.size(), 3u);
  for (const char* name : {"a", "b", "c"}) EXPECT_NE(checkpoint->Find(name), nullptr);
}

TEST_F(Shards, TheIndexDecides) {
  Index({{"b", kTwo}});
  const auto checkpoint = OpenCheckpoint(folder_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors.size(), 1u);
}

// A tensor that the index forgot counts like one of a single file: what it is for is decided later.
TEST_F(Shards, TensorsBeyondTheIndexCount) {
  Safetensors({{"a", DType::kU8, {4}}, {"b", DType::kU8, {4}}}, 1000);
  std::filesystem::rename(folder_ / "model.safetensors", folder_ / "both.safetensors");
  Index({{"a", "both.safetensors"}});
  const auto checkpoint = OpenCheckpoint(folder_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_NE(checkpoint->Find("b"), nullptr);
  Index({{"a", "both.safetensors"}, {"b", kTwo}});
  const auto elsewhere = OpenCheckpoint(folder_);
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.error().message;
  EXPECT_EQ(elsewhere->tensors.size(), 2u) << "b is taken from the shard that the index names";
}

TEST_F(Shards, MissingOrElsewhere) {
  Index({{"a", kOne}, {"z", kTwo}});
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "tensor z is not in the shard");
  Index({{"a", "model-00009.safetensors"}});
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "model-00009.safetensors is missing");
  for (const char* name : {"/etc/model.safetensors", "../model.safetensors", "sub/model.safetensors",
                           "model.safetensors.index.json", "..", "", "c:\\x.safetensors"}) {
    Index({{"a", name}});
    ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "plain name");
  }
  Index({{"a", 7}});
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "plain name");
  Index(json::array());
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "weight_map");
  Index(json::object());
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "weight_map");
  Write("model.safetensors.index.json", "{}");
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "weight_map");
  std::filesystem::create_symlink("loop.safetensors", folder_ / "loop.safetensors");
  Index({{"a", "loop.safetensors"}});
  ExpectError(OpenCheckpoint(folder_), ErrorCode::kInput, "loop.safetensors");
}

// A checkpoint of others: compressed-tensors, asymmetric INT4, as llm-compressor writes it.
class CompressedTensors : public Checkpoints {
 protected:
  static json Scheme() {
    return {{"num_bits", 4}, {"type", "int"}, {"symmetric", false}, {"strategy", "group"}, {"group_size", 64}};
  }
  static json Quantization(const json& scheme) {
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", scheme}}}}}};
  }
  static std::vector<PlannedTensor> Parts() {
    return {{"m.weight_packed", DType::kI32, {10, 16}},
            {"m.weight_scale", DType::kF16, {10, 2}},
            {"m.weight_zero_point", DType::kI32, {2, 2}},
            {"m.weight_shape", DType::kI64, {2}}};
  }
  // Writes the parts (bytes all 17, but the shape), opens and looks the weight up.
  Result<StoredWeight> Find(const json& quantization, const std::vector<PlannedTensor>& plan, std::int64_t rows = 10,
                            std::int64_t cols = 128) {
    Config({{"quantization_config", quantization}});
    auto writer = SafetensorsWriter::Create(folder_, plan);
    for (const PlannedTensor& tensor : plan) {
      std::vector<std::uint8_t> bytes(*ByteSize(tensor.dtype, tensor.shape, ""), 17);
      const std::string shape = tensor.dtype == DType::kI64
                                    ? Raw(rows) + Raw(cols)
                                    : Raw(static_cast<std::int32_t>(rows)) + Raw(static_cast<std::int32_t>(cols));
      if (tensor.name == "m.weight_shape")
        std::copy_n(shape.begin(), std::min(bytes.size(), shape.size()), bytes.begin());
      EXPECT_TRUE(writer->Write(tensor.name, bytes).ok());
    }
    EXPECT_TRUE(writer->Commit().ok());
    auto opened = OpenCheckpoint(folder_);
    if (!opened) return opened.error();
    opened_.push_back(std::move(*opened));
    return FindWeight(opened_.back(), "m");
  }
  void ExpectWeightError(const Result<StoredWeight>& weight, ErrorCode code, const std::string& part) const {
    ASSERT_FALSE(weight.ok()) << part;
    EXPECT_EQ(weight.error().code, code) << weight.error().message;
    EXPECT_NE(weight.error().message.find(part), std::string::npos) << weight.error().message;
  }
  std::vector<Checkpoint> opened_;
};

TEST_F(CompressedTensors, AsymmetricInt4) {
  const auto weight = Find(Quantization(Scheme()), Parts());
  ASSERT_TRUE(weight.ok()) << weight.error().message;
  ASSERT_TRUE(weight->encoded.has_value());
  EXPECT_EQ(weight->encoded->format->info.name, "int4-g64");
  EXPECT_EQ(weight->rows, 10u);
  EXPECT_EQ(weight->cols, 128u);
  EXPECT_EQ(GetParams(*weight->encoded, 9, 1).zero_point, 1) << "nibble of byte 17 = 0x11";
  EXPECT_EQ(SourceType(opened_.back()), "int4-g64");
  auto narrow = Parts();
  narrow[3].dtype = DType::kI32;
  EXPECT_TRUE(Find(Quantization(Scheme()), narrow).ok()) << "older versions write the shape as I32";
}

TEST_F(CompressedTensors, OtherQuantizationsAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
           {"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "channel"}, {"num_bits", nullptr}}) {
    json scheme = Scheme();
    scheme[key] = value;
    ExpectWeightError(Find(Quantization(scheme), Parts()), ErrorCode::kUnsupported, "of a kind of compressed-tensors");
  }
  json scheme = Scheme();
  scheme["group_size"] = 32;
  ExpectWeightError(Find(Quantization(scheme), Parts()), ErrorCode::kUnsupported, "group_size 32");
  scheme["group_size"] = 128;
  ExpectWeightError(Find(Quantization(scheme), Parts()), ErrorCode::kUnsupported, "has 2 scales for 128 columns");
  json quantization = Quantization(Scheme());
  quantization["format"] = "int-quantized";
  ExpectWeightError(Find(quantization, Parts()), ErrorCode::kUnsupported, "int-quantized");
  ExpectWeightError(Find({{"quant_method", "awq"}}, Parts()), ErrorCode::kUnsupported,
                    "quantized by awq, which this program does not read");
  ExpectWeightError(Find(json(), Parts()), ErrorCode::kUnsupported, "null");
  ExpectWeightError(Find({{"quant_method", "compressed-tensors"}}, Parts()), ErrorCode::kInput, "config_groups");
  auto reordered = Parts();
  reordered.push_back({"m.weight_g_idx", DType::kI32, {128}});
  ExpectWeightError(Find(Quantization(Scheme()), reordered), ErrorCode::kUnsupported, "weight_g_idx");
  auto bf16 = Parts();
  bf16[1].dtype = DType::kBF16;
  ExpectWeightError(Find(Quantization(Scheme()), bf16), ErrorCode::kUnsupported, "BF16 scales");
}

TEST_F(CompressedTensors, PartsThatContradictEachOther) {
  const json quantization = Quantization(Scheme());
  for (std::size_t missing = 1; missing < 4; ++missing) {
    auto parts = Parts();
    const std::string name = parts[missing].name;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(missing));
    ExpectWeightError(Find(quantization, parts), ErrorCode::kInput, name);
  }
  for (std::size_t wrong = 0; wrong < 3; ++wrong) {
    for (const bool type : {true, false}) {
      auto parts = Parts();
      if (type) parts[wrong].dtype = DType::kI16;
      if (!type) parts[wrong].shape[0] += 1;
      ExpectWeightError(Find(quantization, parts), ErrorCode::kInput, parts[wrong].name);
    }
  }
  const std::int64_t huge = std::int64_t{1} << 62;
  for (const auto& [rows, cols] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 128}, {10, 0}, {-10, 128}, {10, -128}, {huge, huge}, {huge, 2}, {INT64_MIN, INT64_MIN}}) {
    ExpectWeightError(Find(quantization, Parts(), rows, cols), ErrorCode::kInput, "m.weight_shape");
  }
  ExpectWeightError(Find(quantization, Parts(), 11, 128), ErrorCode::kInput, "m.weight_packed");
  ExpectWeightError(Find(quantization, Parts(), 10, 120), ErrorCode::kInput, "m.weight_packed");
  auto plain = Parts();
  plain.push_back({"m.weight", DType::kF16, {10, 128}});
  ExpectWeightError(Find(quantization, plain), ErrorCode::kInput, "twice");
}

TEST_F(Checkpoints, AGgufFile) {
  GgufBuilder builder;
  builder.Text("general.architecture", "llama").U32("llama.embedding_length", 4).U32("llama.feed_forward_length", 8);
  builder.U32("llama.block_count", 1).U32("llama.attention.head_count", 1).U32("llama.context_length", 64);
  builder.F32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .Floats("token_embd.weight", {4, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  std::vector<float> rows;
  for (int r = 0; r < 4; ++r) rows.insert(rows.end(), 4, static_cast<float>(r));
  builder.Floats("blk.0.attn_q.weight", {4, 4}, rows);
  const auto checkpoint = OpenCheckpoint(Write("Tiny.Q8.gguf", builder.Bytes()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->name, "Tiny.Q8");
  EXPECT_EQ(checkpoint->container, Container::kGguf);
  EXPECT_EQ(checkpoint->config["vocab_size"], 2);
  const auto weight = FindWeight(*checkpoint, "model.layers.0.self_attn.q_proj");
  ASSERT_TRUE(weight.ok());
  EXPECT_TRUE(Has(FindWeight(*checkpoint, "model.layers.0.mlp.up_proj").error().message,
                  ": tensor blk.0.ffn_up.weight is missing"));
  EXPECT_TRUE(Has(checkpoint->Get("lm_head.weight").error().message, ": tensor output.weight is missing"));
  std::vector<float> out(16, -1);
  ASSERT_TRUE(DecodeRows(*weight->tensor, 0, MatrixView<float>(out.data(), 4, 4)).ok());
  EXPECT_EQ((std::vector<float>{out[0], out[4], out[8], out[12]}), (std::vector<float>{0, 2, 1, 3}));

  builder.Floats("blk.00.attn_q.weight", {4, 4}, rows);
  ExpectError(OpenCheckpoint(Write("Twice.gguf", builder.Bytes())), ErrorCode::kInput, "twice");
}

// A name counts only where some of the weights are of its type.
TEST_F(Checkpoints, AMixtureIsCalledAsItsFileCallsIt) {
  const auto called = [&](const auto& add) {
    GgufBuilder builder;
    builder.Text("general.architecture", "llama").U32("llama.embedding_length", 256);
    builder.U32("llama.feed_forward_length", 256).U32("llama.block_count", 1).U32("llama.attention.head_count", 1);
    builder.U32("llama.context_length", 64).F32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    builder.Floats("token_embd.weight", {256, 1}, std::vector<float>(256));
    builder.Tensor("blk.0.ffn_up.weight", {256, 2}, 6, std::string(2 * 8 * 22, '\0'));  // Q5_0
    builder.Tensor("blk.0.ffn_gate.weight", {256, 1}, 12, std::string(144, '\0'));      // Q4_K
    add(builder);
    const auto checkpoint = OpenCheckpoint(Write("mixture.gguf", builder.Bytes()));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(WeightType(*checkpoint), "Q5_0");
    return SourceType(*checkpoint);
  };
  EXPECT_EQ(called([](GgufBuilder&) {}), "Q5_0");
  EXPECT_EQ(called([](GgufBuilder& b) { b.U32("general.file_type", 15); }), "Q4_K_M");
  EXPECT_EQ(called([](GgufBuilder& b) { b.U32("general.file_type", 14); }), "Q4_K_S");
  EXPECT_EQ(called([](GgufBuilder& b) { b.U32("general.file_type", 18); }), "Q5_0") << "no Q6_K inside";
  EXPECT_EQ(called([](GgufBuilder& b) { b.U32("general.file_type", 1024); }), "Q5_0");
  EXPECT_EQ(called([](GgufBuilder& b) { b.Text("general.file_type", "Q4_K_M"); }), "Q5_0");
}

TEST_F(Checkpoints, HashFollowsWhatDecidesNumbers) {
  Config({{"a", 1}});
  Safetensors({{"w", DType::kU8, {4}}});
  const auto hash = [&] { return *HashCheckpoint(*OpenCheckpoint(folder_)); };
  const std::string first = hash();
  EXPECT_EQ(first.size(), 64u);
  Write("README.md", "words");
  EXPECT_EQ(hash(), first);
  Write("tokenizer.json", "{}");
  const std::string with_tokenizer = hash();
  EXPECT_NE(with_tokenizer, first);
  Config({{"a", 2}});
  const std::string with_config = hash();
  EXPECT_NE(with_config, with_tokenizer);
  Safetensors({{"w", DType::kU8, {4}}}, 1u << 30, 1);
  EXPECT_NE(hash(), with_config);
  g_interrupted = true;
  EXPECT_EQ(HashCheckpoint(*OpenCheckpoint(folder_)).error().code, ErrorCode::kInterrupted);
  g_interrupted = false;
}

}  // namespace
}  // namespace marlin
