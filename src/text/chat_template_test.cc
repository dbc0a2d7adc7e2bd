#include "text/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/test_text.h"
#include "files/checkpoint.h"
#include "files/test_files.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

class ChatTemplates : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "chat_template_test";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    checkpoint_.path = folder_;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const char* name, const std::string& text) { ASSERT_TRUE(WriteFileAtomic(folder_ / name, text).ok()); }

  // The prompt of one message, or the error's message.
  std::string Prompt(const fs::path& file = {}, const ordered_json& message = {{"role", "user"}, {"content", "Hi"}}) {
    const auto chat = FindChatTemplate(checkpoint_, file);
    if (!chat) return "error: " + chat.error().message;
    const auto prompt = RenderChat(*chat, ordered_json::array({message}), std::tm{}, "chat.json");
    return prompt ? *prompt : "error: " + prompt.error().message;
  }

  fs::path folder_;
  Checkpoint checkpoint_;
};

TEST_F(ChatTemplates, EachPlaceOfAFolder) {
  EXPECT_TRUE(Has(Prompt(), "has no chat template")) << Prompt();
  Write("tokenizer_config.json", R"({"chat_template": "config {{ messages[0].content }}"})");
  EXPECT_EQ(Prompt(), "config Hi");
  Write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(Prompt(), "json");
  Write("chat_template.jinja", "jinja\n");
  EXPECT_EQ(Prompt(), "jinja");
  Write("other.txt", "other {{ add_generation_prompt }} {{ tools }} {{ documents is none }}");
  EXPECT_EQ(Prompt(folder_ / "other.txt"), "other True None True");
  EXPECT_TRUE(Has(Prompt(folder_ / "none.txt"), "none.txt"));
}

TEST_F(ChatTemplates, OfSeveralTheDefault) {
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(Prompt(), "d");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"}]})");
  EXPECT_TRUE(Has(Prompt(), "a list without \"default\": tool_use")) << Prompt();
  for (const char* broken : {"5", "[5]", "[{\"name\": \"default\"}]", "{}"}) {
    Write("tokenizer_config.json", std::string("{\"chat_template\": ") + broken + "}");
    EXPECT_TRUE(Has(Prompt(), "tokenizer_config.json: chat_template is no text")) << Prompt();
  }
  Write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_TRUE(Has(Prompt(), "has no chat template")) << Prompt();
  Write("tokenizer_config.json", "{");
  EXPECT_TRUE(Has(Prompt(), "tokenizer_config.json")) << Prompt();
}

TEST_F(ChatTemplates, SpecialTokensAreThoseOfTheFiles) {
  Write("chat_template.jinja", "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}");
  EXPECT_EQ(Prompt(), "|||False");
  Write("tokenizer_config.json",
        R"({"bos_token": {"content": "<b>", "special": true}, "eos_token": "<e>", "pad_token": null})");
  Write("special_tokens_map.json", R"({"bos_token": "<other>", "pad_token": "<p>"})");
  EXPECT_EQ(Prompt(), "<b>|<e>|<p>|False");
}

TEST_F(ChatTemplates, MessagesAreNormalizedAsTransformersDoes) {
  Write("chat_template.jinja", "{{ messages[0] }}");
  EXPECT_EQ(Prompt({}, {{"role", "user"}, {"content", nullptr}}), "{'role': 'user'}");
  EXPECT_EQ(Prompt({}, {{"role", "assistant"}, {"reasoning", "r"}}),
            "{'thinking': 'r', 'role': 'assistant', 'reasoning': 'r', 'reasoning_content': 'r'}");
  EXPECT_EQ(Prompt({}, {{"role", "assistant"}, {"reasoning_content", "r"}, {"thinking", "t"}}),
            "{'thinking': 't', 'role': 'assistant', 'reasoning_content': 'r'}");
}

TEST_F(ChatTemplates, OfAGguf) {
  GgufBuilder builder;
  builder.Text("tokenizer.chat_template",
               "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ unk_token is defined }}");
  const std::string tokens = GgufBuilder::String("a") + GgufBuilder::String("<b>") + GgufBuilder::String("<e>");
  builder.Array("tokenizer.ggml.tokens", GgufType::kString, 3, tokens);
  builder.U32("tokenizer.ggml.bos_token_id", 1).U32("tokenizer.ggml.eos_token_id", 2);
  builder.U32("tokenizer.ggml.unknown_token_id", 99);
  checkpoint_.container = Container::kGguf;
  checkpoint_.path = folder_ / "model.gguf";
  Write("model.gguf", builder.Bytes());
  EXPECT_EQ(Prompt(), "<b>Hi<e>False");
  GgufBuilder without;
  Write("model.gguf", without.Bytes());
  EXPECT_TRUE(Has(Prompt(), "has no chat template (tokenizer.chat_template)")) << Prompt();
}

TEST_F(ChatTemplates, FilesOfMessages) {
  const auto read = [&](const std::string& text) -> std::string {
    Write("messages.json", text);
    const auto messages = ReadMessages(folder_ / "messages.json");
    return messages ? messages->dump() : messages.error().message;
  };
  EXPECT_EQ(read(R"([{"role": "user", "content": "x", "a": 1}])"), R"([{"role":"user","content":"x","a":1}])");
  for (const char* broken : {"{}", "[]", "5"}) EXPECT_TRUE(Has(read(broken), "messages.json: no list of messages"));
  EXPECT_TRUE(
      Has(read(R"([{"role": "user", "content": "x"}, 5])"), "messages.json: message 2: it is 5, want an object"));
  EXPECT_TRUE(Has(read(R"([{"content": "x"}])"), "messages.json: message 1: \"role\" is missing, want a text"));
  EXPECT_TRUE(Has(read(R"([{"role": 5, "content": "x"}])"), "message 1: \"role\" is 5, want a text"));
  EXPECT_TRUE(Has(read("["), "not valid JSON"));
  EXPECT_TRUE(Has(read("[{\"role\": \"a\", \"role\": \"b\"}]"), "appears twice"));
  EXPECT_FALSE(ReadMessages(folder_ / "none.json").ok());
  for (const char* content : {"5", "null", "true", "{}"}) {
    const std::string said =
        read(fmt::format(R"([{{"role": "user", "content": "x"}}, {{"role": "a", "content": {}}}])", content));
    EXPECT_TRUE(
        Has(said, fmt::format("messages.json: message 2: \"content\" is {}, want a text, or a list of parts", content)))
        << said;
  }
  EXPECT_TRUE(Has(read(R"([{"role": "user"}])"), "message 1: \"content\" is missing"));
  EXPECT_TRUE(Has(read(R"([{"role": "user", "content": ["x", 5]}])"), "message 1: part 2 of \"content\" is 5, want"));
  EXPECT_TRUE(Has(read(R"([{"role": "user", "content": [{"type": "text", "text": 5}]}])"),
                  "message 1: part 1 of \"content\" is wrong: \"text\" is 5, want a text"));
  for (const char* good :
       {R"([{"role":"assistant","content":null,"tool_calls":[]}])", R"([{"role":"assistant","reasoning":"r"}])",
        R"([{"role":"user","content":[{"type":"text","text":"x"},{"image":"i"}]}])"}) {
    EXPECT_EQ(read(good), good);
  }
}

TEST_F(ChatTemplates, AListOfPartsIsForTemplatesThatTakeIt) {
  const ordered_json parts = {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "Hi"}}}}};
  Write("chat_template.jinja", "{{ messages[0].content[0].text }}");
  EXPECT_EQ(Prompt({}, parts), "Hi");
  Write("chat_template.jinja", "{{ '[' + messages[0].content }}");
  EXPECT_TRUE(Has(Prompt({}, parts), "chat.json: message 1: \"content\" is a list of parts, which the chat template"))
      << Prompt({}, parts);
  Write("chat_template.jinja", "{{ raise_exception('no') }}");
  EXPECT_FALSE(Has(Prompt({}, parts), "list of parts")) << "the template refuses a text, too";
}

}  // namespace
}  // namespace marlin
