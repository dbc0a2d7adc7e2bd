#include "files/quantized_checkpoint.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <string>

#include "base/rng.h"
#include "base/sha256.h"
#include "files/checkpoint.h"
#include "files/quantized_layout.h"
#include "files/sums_file.h"
#include "files/test_files.h"
#include "files/verify_folder.h"
#include "formats/formats.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

struct Model {
  QuantizedPlan plan;
  std::vector<EncodedMatrix> matrices;             // of the encoded weights, in order
  std::vector<std::vector<std::uint8_t>> tensors;  // of the plain ones
};

EncodedMatrix Noise(const FormatRow& format, std::size_t rows, std::size_t cols) {
  Rng rng(rows * 1000 + cols);
  std::vector<float> weights(rows * cols);
  for (float& weight : weights) weight = static_cast<float>(rng.Normal());
  return Encode(format, MatrixView<const float>(weights.data(), rows, cols));
}

// Every group format on the given shapes (name, rows, cols), and two plain tensors around them.
struct Shape {
  std::string stem;
  std::string format;
  std::size_t rows, cols;
};

Model MakeModel(const std::vector<Shape>& shapes) {
  Model model;
  model.plan.config = {{"model_type", "llama"}, {"quantization_config", {{"quant_method", "of the source"}}}};
  model.plan.provenance = {"rtn", "Tiny", "gguf", "Q4_1", std::string(64, 'a'), "metal-marlin test", "quantize Tiny"};
  model.plan.files = {{"tokenizer.json", "{\"version\": \"1.0\"}\n"}, {"merges.txt", "a b\n"}};
  model.plan.weights.push_back({"model.embed_tokens.weight", nullptr, DType::kBF16, {6, 5}});
  model.tensors.emplace_back(60, std::uint8_t{0x3f});
  for (const Shape& shape : shapes) {
    const FormatRow& format = *FindFormat(shape.format);
    model.plan.weights.push_back({shape.stem, &format, DType::kF16, {shape.rows, shape.cols}});
    model.matrices.push_back(Noise(format, shape.rows, shape.cols));
  }
  model.plan.weights.push_back({"model.norm.weight", nullptr, DType::kF32, {2}});
  model.tensors.emplace_back(8, std::uint8_t{0x40});
  return model;
}

std::vector<Shape> AllFormatsOnAwkwardShapes() {
  std::vector<Shape> shapes;
  for (const FormatRow& row : Formats()) {
    if (row.info.group == 0) continue;
    for (const auto& [rows, cols] : {std::pair{1, 1}, {9, 7}, {8, 256}, {3, 172}, {17, 64}}) {
      if (!FitsRows(row.info, static_cast<std::size_t>(cols))) continue;
      shapes.push_back({"m" + std::to_string(shapes.size()), std::string(row.info.name), static_cast<std::size_t>(rows),
                        static_cast<std::size_t>(cols)});
    }
  }
  return shapes;
}

std::vector<Shape> SmallInt4() { return {{"model.layers.0.self_attn.q_proj", "int4-g64", 9, 128}}; }

Status WriteModel(const fs::path& path, const Model& model, bool overwrite = false) {
  auto writer = QuantizedWriter::Create(path, overwrite, model.plan);
  if (!writer) return writer.error();
  std::size_t matrix = 0, tensor = 0;
  for (const PlannedWeight& weight : model.plan.weights) {
    const Status status = weight.format != nullptr ? writer->Write(weight.name, model.matrices[matrix++].view())
                                                   : writer->Write(weight.name, model.tensors[tensor++]);
    if (!status) return status;
  }
  return writer->Commit();
}

class Quantized : public TemporaryFolder {
 protected:
  fs::path out() const { return folder_ / "out"; }
  std::size_t Entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
};

bool Equal(std::span<const std::uint8_t> a, const std::vector<std::uint8_t>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST_F(Quantized, AScaleOutOfRangeIsNamed) {
  Model model = MakeModel({{"model.layers.0.self_attn.q_proj", "mxfp4", 9, 128}});
  for (const std::uint8_t byte : {0, 102, 143, 255}) {
    model.matrices[0].scales[7] = byte;
    ASSERT_TRUE(WriteModel(out(), model, true).ok());
    const auto checkpoint = OpenCheckpoint(out());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const auto matrix = FindEncoded(*checkpoint, "model.layers.0.self_attn.q_proj");
    ASSERT_FALSE(matrix.ok());
    EXPECT_EQ(matrix.error().code, ErrorCode::kInput);
    const std::string want =
        "q_proj.weight_scale holds the scale 2^" + std::to_string(byte - 127) + ", want 2^-24 to 2^15";
    EXPECT_NE(matrix.error().message.find(want), std::string::npos) << matrix.error().message;
  }
}

TEST_F(Quantized, RoundTripOfEveryFormat) {
  for (const std::uint64_t shard : {SafetensorsWriter::kDefaultShardBytes, std::uint64_t{2000}}) {
    Model model = MakeModel(AllFormatsOnAwkwardShapes());
    model.plan.max_shard_bytes = shard;
    ASSERT_TRUE(WriteModel(out(), model, true).ok());
    ASSERT_TRUE(VerifyFolder(out(), {}).ok());
    const auto checkpoint = OpenCheckpoint(out());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->files.size() > 1, shard == 2000);
    std::size_t matrix = 0;
    for (const PlannedWeight& weight : model.plan.weights) {
      if (weight.format == nullptr) continue;
      const auto found = FindWeight(*checkpoint, weight.name);
      ASSERT_TRUE(found.ok()) << found.error().message;
      ASSERT_TRUE(found->encoded.has_value());
      const EncodedMatrix& want = model.matrices[matrix++];
      EXPECT_EQ(found->encoded->format, weight.format);
      EXPECT_EQ(found->rows, want.rows);
      EXPECT_EQ(found->cols, want.cols);
      EXPECT_TRUE(Equal(found->encoded->codes, want.codes)) << weight.name;
      EXPECT_TRUE(Equal(found->encoded->scales, want.scales)) << weight.name;
      EXPECT_TRUE(Equal(found->encoded->zero_points, want.zero_points)) << weight.name;
    }
    EXPECT_TRUE(Equal(checkpoint->Find("model.norm.weight")->bytes, model.tensors[1]));
    EXPECT_EQ(Slurp(out() / "tokenizer.json"), model.plan.files.at("tokenizer.json"));
  }
}

TEST_F(Quantized, SameInputSameBytes) {
  const Model model = MakeModel(AllFormatsOnAwkwardShapes());
  ASSERT_TRUE(WriteModel(folder_ / "a", model).ok());
  ASSERT_TRUE(WriteModel(folder_ / "b", model).ok());
  EXPECT_EQ(Slurp(folder_ / "a" / kSumsFile), Slurp(folder_ / "b" / kSumsFile));
}

TEST_F(Quantized, ConfigurationOfOurOwnKind) {
  const json config = QuantizationConfig(MakeModel({{"m", "fp4-g128", 2, 128}}).plan);
  EXPECT_EQ(config["quant_method"], "metal-marlin");
  const json& ours = config["metal_marlin"];
  EXPECT_EQ(ours["layout"], kQuantizedLayoutVersion);
  EXPECT_EQ(ours["plan"], (json{{"m", "fp4-g128"}}));
  EXPECT_EQ(ours["source"]["type"], "Q4_1");
  EXPECT_EQ(ours["command"], "quantize Tiny");
  // One matrix that does not fit, or one of another format, and other programs could not read the folder.
  EXPECT_EQ(QuantizationConfig(MakeModel({{"m", "int4-g128", 2, 192}}).plan)["quant_method"], "metal-marlin");
  EXPECT_EQ(QuantizationConfig(MakeModel({{"m", "int4-g64", 2, 64}, {"n", "int8-g128", 2, 128}}).plan)["quant_method"],
            "metal-marlin");
  EXPECT_EQ(QuantizationConfig(MakeModel({{"model.embed_tokens", "int4-g64", 2, 64}}).plan)["quant_method"],
            "metal-marlin");
  EXPECT_EQ(QuantizationConfig(MakeModel({}).plan)["quant_method"], "metal-marlin");
}

TEST_F(Quantized, ConfigurationThatOthersRead) {
  Model model = MakeModel(SmallInt4());
  model.plan.weights.push_back({"model.layers.0.mlp.up_proj.weight", nullptr, DType::kF16, {4, 70}});
  const json one = QuantizationConfig(model.plan);
  EXPECT_EQ(one["quant_method"], "compressed-tensors");
  EXPECT_EQ(one["format"], "pack-quantized");
  EXPECT_EQ(one["ignore"], (json{"model.layers.0.mlp.up_proj", "lm_head"}));
  ASSERT_EQ(one["config_groups"].size(), 1u);
  const json& group = one["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], json::array({"Linear"}));
  const json scheme = {{"num_bits", 4},    {"type", "int"},       {"symmetric", false},
                       {"group_size", 64}, {"strategy", "group"}, {"dynamic", false}};
  EXPECT_EQ(group["weights"], scheme);

  const json two = QuantizationConfig(MakeModel({{"x", "int4-g64", 2, 64}, {"lm_head", "int4-g128", 2, 128}}).plan);
  ASSERT_EQ(two["config_groups"].size(), 2u);
  EXPECT_EQ(two["config_groups"]["group_0"]["targets"], json::array({"lm_head"}));
  EXPECT_EQ(two["config_groups"]["group_0"]["weights"]["group_size"], 128);
  EXPECT_EQ(two["config_groups"]["group_1"]["targets"], json::array({"x"}));
  EXPECT_EQ(two["ignore"], json::array());
}

TEST_F(Quantized, WithoutOurPlanTheCompressedTensorsConfigurationIsEnough) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  json config = json::parse(Slurp(out() / "config.json"));
  config["quantization_config"].erase("metal_marlin");
  Write("out/config.json", config.dump());
  const auto checkpoint = OpenCheckpoint(out());
  ASSERT_TRUE(checkpoint.ok());
  const auto weight = FindWeight(*checkpoint, SmallInt4()[0].stem);
  ASSERT_TRUE(weight.ok()) << weight.error().message;
  EXPECT_EQ(weight->encoded->format->info.name, "int4-g64");
  EXPECT_TRUE(Equal(weight->encoded->codes, MakeModel(SmallInt4()).matrices[0].codes));
}

TEST_F(Quantized, PlansThatLie) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  const json good = json::parse(Slurp(out() / "config.json"));
  const std::string stem = SmallInt4()[0].stem;
  const auto find = [&](const json& plan) {
    json config = good;
    config["quantization_config"]["metal_marlin"]["plan"] = plan;
    Write("out/config.json", config.dump());
    return FindWeight(*OpenCheckpoint(out()), stem).error();
  };
  EXPECT_EQ(find(json::object()).code, ErrorCode::kInput);
  EXPECT_EQ(find(json::array()).code, ErrorCode::kInput);
  EXPECT_EQ(find({{stem, 4}}).code, ErrorCode::kInput);
  EXPECT_EQ(find({{stem, "int3-g64"}}).code, ErrorCode::kUnsupported);
  EXPECT_EQ(find({{stem, "fp16"}}).code, ErrorCode::kUnsupported);
  EXPECT_EQ(find({{stem, "int4-g128"}}).code, ErrorCode::kInput) << "other number of scales";
  EXPECT_EQ(find({{stem, "fp4-g64"}}).code, ErrorCode::kInput) << "other type of codes";
}

// The heart of verify: no bit of no file can change unnoticed, SHA256SUMS included.
TEST_F(Quantized, EveryFlippedBitIsFound) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  ASSERT_TRUE(VerifyFolder(out(), {}).ok());
  ASSERT_EQ(std::distance(fs::directory_iterator(out()), fs::directory_iterator()), 5) << "all of them are tried below";
  Rng rng(5);
  std::size_t flips = 0;
  for (const std::string name : {"config.json", "merges.txt", "model.safetensors", "SHA256SUMS", "tokenizer.json"}) {
    const std::string whole = Slurp(out() / name);
    const bool all_bits = name == kSumsFile;
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        if (!all_bits && rng.Below(40) != 0) continue;
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
        Write("out/" + name, damaged);
        const auto status = VerifyFolder(out(), {});
        ASSERT_FALSE(status.ok()) << name << " byte " << at << " bit " << bit;
        ASSERT_EQ(status.error().code, ErrorCode::kCorrupt) << status.error().message;
        ASSERT_TRUE(all_bits || status.error().message.find(name) != std::string::npos) << status.error().message;
        ++flips;
      }
    }
    Write("out/" + name, whole);
  }
  EXPECT_GT(flips, 3000u);
  EXPECT_TRUE(VerifyFolder(out(), {}).ok());
}

TEST_F(Quantized, VerifyNamesTheTensor) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  const fs::path path = out() / "model.safetensors";
  std::string bytes = Slurp(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 4);
  Write("out/model.safetensors", bytes);
  const auto status = VerifyFolder(out(), {});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(status.error().message.find("tensor model.norm.weight"), std::string::npos) << status.error().message;
  EXPECT_TRUE(OpenCheckpoint(out()).ok()) << "nothing is hashed unless asked for";
}

TEST_F(Quantized, VerifyLooksAtTheWholeFolder) {
  const auto fresh = [&] {
    fs::remove_all(out());
    ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  };
  fresh();
  fs::remove(out() / "merges.txt");
  EXPECT_EQ(VerifyFolder(out(), {}).error().code, ErrorCode::kCorrupt);
  fresh();
  Write("out/extra.safetensors", "x");
  EXPECT_EQ(VerifyFolder(out(), {}).error().code, ErrorCode::kCorrupt);
  fresh();
  Write("out/README.md", "words");
  EXPECT_TRUE(VerifyFolder(out(), {}).ok()) << "a note may lie there";
  fresh();
  Write("out/model.safetensors", "");
  EXPECT_EQ(VerifyFolder(out(), {}).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(VerifyFolder(folder_, {}).error().code, ErrorCode::kInput);
  EXPECT_EQ(VerifyFolder(folder_ / "absent", {}).error().code, ErrorCode::kInput);
  for (const auto& [bytes, word] :
       {std::pair{"GGUF and more", "is a GGUF file"}, {"GG", "is a file"}, {"", "is a file"}}) {
    Write("file.gguf", bytes);
    const auto refused = VerifyFolder(folder_ / "file.gguf", {});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kInput);
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
}

TEST_F(Quantized, VerifyAsksForFiniteScales) {
  Model model = MakeModel(SmallInt4());
  SetParams(model.matrices[0], 3, 1, {.scale = INFINITY});
  ASSERT_TRUE(WriteModel(out(), model).ok());
  const auto status = VerifyFolder(out(), {});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kNumerical);
  EXPECT_NE(status.error().message.find("element 7 of tensor model.layers.0.self_attn.q_proj.weight_scale"),
            std::string::npos)
      << status.error().message;
}

TEST_F(Quantized, ProgressAndInterrupt) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  int calls = 0;
  Progress last;
  const auto verified = VerifyFolder(out(), [&](const Progress& progress) {
    calls += progress.stage == "verify";
    last = progress;
  });
  ASSERT_TRUE(verified.ok());
  EXPECT_GE(calls, 4);
  EXPECT_EQ(last.unit, "bytes");
  EXPECT_EQ(last.done, last.total);
  EXPECT_EQ(verified->bytes, last.total);
  std::uint64_t bytes = 0;
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(out())) {
    if (entry.path().filename() == kSumsFile) continue;
    ++files;
    bytes += entry.file_size();
  }
  EXPECT_EQ(verified->files, files);
  EXPECT_EQ(verified->bytes, bytes);
  g_interrupted = true;
  EXPECT_EQ(VerifyFolder(out(), {}).error().code, ErrorCode::kInterrupted);
  g_interrupted = false;
}

TEST_F(Quantized, AnExistingFolderIsKeptUntilTheNewOneIsWhole) {
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  const std::string sums = Slurp(out() / kSumsFile);
  const auto refused = WriteModel(out(), MakeModel(SmallInt4()));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInput);
  {
    auto abandoned = QuantizedWriter::Create(out(), true, MakeModel(SmallInt4()).plan);
    ASSERT_TRUE(abandoned.ok());
    ASSERT_TRUE(abandoned->Write("model.embed_tokens.weight", std::vector<std::uint8_t>(60)).ok());
  }
  EXPECT_EQ(Slurp(out() / kSumsFile), sums);
  EXPECT_EQ(Entries(), 1u) << "nothing is left behind";
}

// Files of this process may have `bytes` bytes while it lives: a disk that is full, without filling one.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit old_{};
};

TEST_F(Quantized, AFullDiskAtAnyPointLosesNothing) {
  const Model model = MakeModel({{"m", "int4-g64", 40, 128}, {"n", "fp4-g32", 40, 128}});
  ASSERT_TRUE(WriteModel(out(), MakeModel(SmallInt4())).ok());
  const std::string sums = Slurp(out() / kSumsFile);
  ASSERT_TRUE(WriteModel(folder_ / "whole", model).ok());
  const auto size = fs::file_size(folder_ / "whole" / "model.safetensors");
  for (const rlim_t limit :
       {rlim_t{0}, rlim_t{100}, rlim_t{2000}, static_cast<rlim_t>(size) / 2, static_cast<rlim_t>(size) - 1}) {
    Status status;
    {
      const FullDisk full(limit);
      status = WriteModel(out(), model, true);
    }
    ASSERT_FALSE(status.ok()) << limit;
    EXPECT_EQ(status.error().code, ErrorCode::kResource) << status.error().message;
    EXPECT_EQ(Slurp(out() / kSumsFile), sums);
    EXPECT_EQ(Entries(), 2u) << "nothing is left behind";
  }
}

TEST_F(Quantized, PlacesThatCannotBeWritten) {
  const auto in_proc = WriteModel("/proc/metal-marlin-test", MakeModel(SmallInt4()));
  ASSERT_FALSE(in_proc.ok());
  EXPECT_EQ(in_proc.error().code, ErrorCode::kInput) << in_proc.error().message;
  const auto below_a_file = WriteModel(Write("file", "x") / "out", MakeModel(SmallInt4()));
  ASSERT_FALSE(below_a_file.ok());
  EXPECT_EQ(below_a_file.error().code, ErrorCode::kInput);
  EXPECT_EQ(Slurp(folder_ / "file"), "x");
}

TEST_F(Quantized, AReadOnlyFolder) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write into read-only folders";
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  const auto status = WriteModel(out(), MakeModel(SmallInt4()));
  fs::permissions(folder_, fs::perms::owner_all);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
