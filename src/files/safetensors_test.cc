#include "files/safetensors.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/rng.h"
#include "base/sha256.h"
#include "files/safetensors_writer.h"
#include "files/test_files.h"

namespace marlin {
namespace {

std::string File(const std::string& header, const std::string& data) {
  return Raw<std::uint64_t>(header.size()) + header + data;
}

class Safetensors : public TemporaryFolder {
 protected:
  Result<SafetensorsFile> Open(const std::string& bytes) const {
    return OpenSafetensors(Write("x.safetensors", bytes));
  }

  void ExpectError(const std::string& bytes, const std::string& part, ErrorCode code = ErrorCode::kInput) const {
    const auto file = Open(bytes);
    ASSERT_FALSE(file.ok()) << part;
    EXPECT_EQ(file.error().code, code) << file.error().message;
    EXPECT_NE(file.error().message.find(part), std::string::npos) << file.error().message;
    EXPECT_NE(file.error().message.find("x.safetensors"), std::string::npos) << file.error().message;
  }

  static std::string Sample() {
    return File(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                R"("a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}  )",
                "abcdefghxyz");
  }
};

TEST_F(Safetensors, ReadsInFileOrder) {
  const auto file = Open(Sample());
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 2u);
  EXPECT_EQ(file->tensors[0].name, "a");
  EXPECT_EQ(file->tensors[0].dtype, DType::kF16);
  EXPECT_EQ(file->tensors[0].shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(file->tensors[1].name, "b");
  EXPECT_EQ(file->tensors[1].bytes[0], 'x');
  EXPECT_EQ(file->metadata.at("format"), "pt");
  EXPECT_TRUE(Open(File("{}", "")).ok());
  EXPECT_TRUE(Open(File(R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}})", "")).ok());
}

TEST_F(Safetensors, EveryTruncationIsNoticed) {
  const std::string whole = Sample();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(Open(whole.substr(0, size)).ok()) << size;
  }
  ExpectError(whole + "!", "follow the last tensor");
}

TEST_F(Safetensors, FlippedBytesNeverLeadOutsideTheFile) {
  const std::string whole = Sample();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
      const auto file = Open(damaged);
      if (!file) continue;
      std::string data;
      for (const Tensor& tensor : file->tensors) data.append(tensor.bytes.begin(), tensor.bytes.end());
      EXPECT_EQ(data, damaged.substr(damaged.size() - 11)) << "at byte " << at;
    }
  }
}

TEST_F(Safetensors, HeadersThatLie) {
  for (const std::uint64_t length : {~0ull, 1ull << 63, 100'000'001ull, 1000ull}) {
    ExpectError(Raw(length) + "{}", "header");
  }
  ExpectError("abc", "too short");
  ExpectError(File("", ""), "JSON");
  ExpectError(File("[]", ""), "not a JSON object");
  ExpectError(File("{\"a\":", ""), "JSON");
  ExpectError(File(std::string(100000, '['), ""), "nested");
  ExpectError(File(R"({"__metadata__":{"a":1}})", ""), "not a string");
  ExpectError(File(R"({"__metadata__":[]})", ""), "__metadata__");
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  ExpectError(File("{" + a + "," + a + "}", "x"), "twice");
}

TEST_F(Safetensors, TensorsThatLie) {
  const auto with = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return File(R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                "12345678");
  };
  EXPECT_TRUE(Open(with("F32", "[2]", "[0,8]")).ok());
  ExpectError(with("F8_E5M2", "[8]", "[0,8]"), "tensor t has the type F8_E5M2", ErrorCode::kUnsupported);
  ExpectError(with("Q8_0", "[32]", "[0,34]"), "Q8_0", ErrorCode::kUnsupported);
  for (const char* shape : {"[-2]", "[2.0]", "\"2\"", "[[2]]", "null", "[1e3]", "[18446744073709551616]"}) {
    ExpectError(with("F32", shape, "[0,8]"), "tensor t is described wrongly");
  }
  for (const char* offsets : {"[0]", "[0,8,9]", "[-8,0]", "{}", "[0,8.0]"}) {
    ExpectError(with("F32", "[2]", offsets), "tensor t is described wrongly");
  }
  ExpectError(with("F32", "[9223372036854775807,4]", "[0,8]"), "overflows");
  ExpectError(with("F32", "[4611686018427387906]", "[0,8]"), "overflows");  // 2^62 + 2: the bytes would wrap to 8
  ExpectError(with("F32", "[3]", "[0,8]"), "want 12 bytes");
  ExpectError(with("F32", "[2]", "[8,0]"), "want 8 bytes");
  ExpectError(with("F32", "[4]", "[0,16]"), "truncated");
  ExpectError(with("U8", "[4]", "[4,8]"), "neither overlap nor leave holes");
  ExpectError(File(R"({"t":{"shape":[1],"data_offsets":[0,1]}})", "x"), "tensor t is described wrongly");
  ExpectError(File(R"({"t":7})", ""), "tensor t is described wrongly");
  ExpectError(
      File(
          R"({"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"u":{"dtype":"U8","shape":[6],"data_offsets":[2,8]}})",
          "12345678"),
      "tensor u begins at byte 2");
}

std::vector<std::uint8_t> Noise(std::size_t bytes, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint8_t> out(bytes);
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(rng.Next());
  return out;
}

TEST_F(Safetensors, WriterRoundTripWithHashes) {
  const std::vector<PlannedTensor> plan = {{"a \"quoted\" \\ name\n", DType::kBF16, {3, 5}},
                                           {"scalar", DType::kF32, {}},
                                           {"empty", DType::kF16, {0, 4}},
                                           {"b", DType::kI64, {2}}};
  auto writer = SafetensorsWriter::Create(folder_, plan, {{"made by", "a test"}});
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    ASSERT_TRUE(writer->Write(plan[i].name, Noise(*ByteSize(plan[i].dtype, plan[i].shape, ""), i)).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "model.safetensors"));
  ASSERT_TRUE(writer->Commit().ok());
  const auto file = OpenSafetensors(folder_ / "model.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->metadata.at("made by"), "a test");
  EXPECT_EQ(file->metadata.at("format"), "pt");
  ASSERT_EQ(file->tensors.size(), plan.size());
  for (const Tensor& tensor : file->tensors) {
    const auto planned = std::find_if(plan.begin(), plan.end(), [&](const auto& p) { return p.name == tensor.name; });
    ASSERT_NE(planned, plan.end()) << tensor.name;
    EXPECT_EQ(tensor.dtype, planned->dtype);
    EXPECT_EQ(tensor.shape, planned->shape);
    const auto want = Noise(tensor.bytes.size(), static_cast<std::uint64_t>(planned - plan.begin()));
    EXPECT_TRUE(std::equal(want.begin(), want.end(), tensor.bytes.begin(), tensor.bytes.end()));
    EXPECT_EQ(file->metadata.at(HashKey(tensor.name)), Sha256Hex(want));
  }
}

TEST_F(Safetensors, WriterCutsShardsBetweenTensors) {
  std::vector<PlannedTensor> plan;
  for (const std::size_t bytes : {10u, 10u, 25u, 3u, 3u})
    plan.push_back({"t" + std::to_string(plan.size()), DType::kU8, {bytes}});
  auto writer = SafetensorsWriter::Create(folder_, plan, {}, 20);
  ASSERT_TRUE(writer.ok());
  for (const auto& tensor : plan) ASSERT_TRUE(writer->Write(tensor.name, Noise(tensor.shape[0], 1)).ok());
  ASSERT_TRUE(writer->Commit().ok());
  const auto index = nlohmann::json::parse(Slurp(folder_ / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 51);
  const nlohmann::json want = {{"t0", "model-00001-of-00003.safetensors"},
                               {"t1", "model-00001-of-00003.safetensors"},
                               {"t2", "model-00002-of-00003.safetensors"},
                               {"t3", "model-00003-of-00003.safetensors"},
                               {"t4", "model-00003-of-00003.safetensors"}};
  EXPECT_EQ(index["weight_map"], want);
  EXPECT_EQ(OpenSafetensors(folder_ / "model-00002-of-00003.safetensors")->tensors[0].bytes.size(), 25u);
}

TEST_F(Safetensors, WriterRefusesAndAbandons) {
  EXPECT_FALSE(SafetensorsWriter::Create(folder_, {{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(folder_, {{"a", DType::kF32, {SIZE_MAX, 2}}}).ok());
  const auto nowhere = SafetensorsWriter::Create(folder_ / "absent", {{"a", DType::kU8, {1}}});
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code, ErrorCode::kInput);
  { const auto abandoned = SafetensorsWriter::Create(folder_, {{"a", DType::kU8, {1}}}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace marlin
