// generate as a user runs it: drawn tokens, stop strings, prompts of chats.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/test_text.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
using nlohmann::json;
using CommandWords = std::vector<std::string>;

class Generate : public testing::Test {
 protected:
  static RunResult RunOn(const std::string& model, const CommandWords& more) {
    CommandWords words = {"generate", model};
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  }

  static json Document(CommandWords more, const std::string& model = kMinnow) {
    more.insert(more.end(), {"--json", "-q"});
    const RunResult run = RunOn(model, more);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  }

  static void ExpectRefused(const CommandWords& more, int code, const std::string& words) {
    const RunResult run = RunOn(kMinnow, more);
    EXPECT_EQ(run.exit_code, code) << run.err;
    EXPECT_TRUE(Has(run.err, words)) << run.err;
    EXPECT_EQ(run.out, "");
  }

  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(WriteFileAtomic(folder_ / name, text).ok());
    return (folder_ / name).string();
  }

  TemporaryFolder folder_;
  const CommandWords prompt_ = {"-p", "The captain of the ship", "-n", "24"};

  CommandWords With(CommandWords more) const {
    more.insert(more.begin(), prompt_.begin(), prompt_.end());
    return more;
  }
};

TEST_F(Generate, TheSeedDecidesWhatIsDrawn) {
  const json first = Document(With({"--temperature", "1.5", "--threads", "1"}));
  EXPECT_EQ(first["sampling"], json({{"temperature", 1.5}, {"top_k", 0}, {"top_p", 1.0}, {"min_p", 0.0}, {"seed", 1}}));
  EXPECT_EQ(Document(With({"--temperature", "1.5", "--seed", "1", "--threads", "2"}))["tokens"], first["tokens"]);
  EXPECT_NE(Document(With({"--temperature", "1.5", "--seed", "2"}))["tokens"], first["tokens"]);
}

TEST_F(Generate, WithOneCandidateTheMostLikelyTokenIsTaken) {
  const json greedy = Document(prompt_);
  EXPECT_EQ(greedy["sampling"]["temperature"], 0);
  for (const CommandWords& options :
       {CommandWords{"--temperature", "3", "--top-k", "1"}, CommandWords{"--temperature", "3", "--top-p", "1e-9"},
        CommandWords{"--temperature", "3", "--min-p", "1"}}) {
    EXPECT_EQ(Document(With(options))["tokens"], greedy["tokens"]) << options[2];
  }
}

TEST_F(Generate, WhatIsPrintedIsTheTextOfAllTokens) {
  for (const CommandWords& options : {CommandWords{}, CommandWords{"--temperature", "8"}}) {
    const json document = Document(With(options));
    const RunResult plain = RunOn(kMinnow, With(options));
    EXPECT_EQ(plain.out, document["prompt"].get<std::string>() + document["text"].get<std::string>() + "\n");
  }
}

TEST_F(Generate, AStopStringIsNotPrinted) {
  const json all = Document(prompt_);
  const auto text = all["text"].get<std::string>();
  ASSERT_GT(text.size(), 40u);
  EXPECT_EQ(all["stopped_by"], "max tokens");
  for (const std::size_t size : {1u, 7u, 20u}) {
    const std::string stop = text.substr(11, size);
    const std::string before = text.substr(0, text.find(stop));
    const json document = Document(With({"--stop", "never seen", "--stop", stop}));
    EXPECT_EQ(document["text"], before);
    EXPECT_EQ(document["stopped_by"], "stop string");
    EXPECT_LT(document["tokens"].size(), all["tokens"].size());
    EXPECT_EQ(RunOn(kMinnow, With({"--stop", stop})).out, "The captain of the ship" + before + "\n");
  }
  EXPECT_EQ(Document(With({"--stop", text.substr(text.size() - 3) + "#"}))["text"], text) << "what was held back";
}

TEST_F(Generate, APromptFromAFile) {
  const json file = Document({"--prompt-file", Write("prompt.txt", "The captain of the ship"), "-n", "24"});
  EXPECT_EQ(file["tokens"], Document(prompt_)["tokens"]);
  ExpectRefused({"--prompt-file", (folder_ / "none").string()}, 3, "none");
}

TEST_F(Generate, AChatGoesThroughTheTemplate) {
  const std::string chat = Write("chat.jinja",
                                 "{% for m in messages %}[{{ m.role }}] {{ m.content|trim }}\n{% endfor %}"
                                 "{% if add_generation_prompt %}[assistant]{{ eos_token }}{% endif %}");
  const CommandWords options = {"--chat", "--chat-template", chat};
  const auto print = [&](CommandWords more) {
    more.insert(more.end(), options.begin(), options.end());
    more.emplace_back("--print-prompt");
    return RunOn(kMinnow, more).out;
  };
  EXPECT_EQ(print({"-p", " Hello "}), "[user] Hello\n[assistant]<|endoftext|>");
  EXPECT_EQ(print({"-p", "Hello", "--system", "Be brief."}),
            "[system] Be brief.\n[user] Hello\n[assistant]<|endoftext|>");
  const std::string messages =
      Write("messages.json", R"([{"role": "user", "content": "A"}, {"role": "pilot", "content": "B"}])");
  EXPECT_EQ(print({"--messages", messages}), "[user] A\n[pilot] B\n[assistant]<|endoftext|>");
  const CommandWords run = {"-p", "Hello", "-n", "4", "--chat", "--chat-template", chat};
  const json document = Document(run);
  EXPECT_EQ(document["prompt"], "[user] Hello\n[assistant]<|endoftext|>");
  EXPECT_EQ(document["tokens"].size(), 4u);
  EXPECT_EQ(RunOn(kMinnow, run).out, document["text"].get<std::string>() + "\n") << "only the answer is printed";
  const json printed = Document({"-p", "Hello", "--chat", "--chat-template", chat, "--print-prompt"});
  EXPECT_EQ(printed["tokens"].size(), document["prompt_tokens"]);
  EXPECT_EQ(printed["tokens"].back(), 0) << "a special token that the template writes is one token";
}

TEST_F(Generate, BrokenTemplatesAndMessagesAreRefused) {
  const auto refused = [&](const std::string& source, int code, const std::string& words) {
    ExpectRefused({"-p", "Hi", "--chat", "--chat-template", Write("chat.jinja", source)}, code, words);
  };
  ExpectRefused({"-p", "Hi", "--chat"}, 3, "has no chat template");
  refused("{{ raise_exception('only tools') }}", 3,
          "chat.jinja: line 1, column 4: the template refuses the messages: only tools");
  refused("{{ x|swim }}", 5, "the filter swim is not supported");
  refused("{% if %}", 3, "chat.jinja: line 1");
  ExpectRefused({"--chat", "--chat-template", Write("chat.jinja", "x"), "--messages", Write("messages.json", "[]")}, 3,
                "messages.json");
}

TEST_F(Generate, OptionsThatDoNotFitTogetherAreRefused) {
  ExpectRefused({"-n", "4"}, 2, "the prompt is missing");
  ExpectRefused({"-p", "a", "--system", "b"}, 2, "--chat");
  ExpectRefused({"-p", "a", "--messages", "b"}, 2, "--messages");
  ExpectRefused({"-p", "a", "--prompt-file", "b"}, 2, "--prompt");
  ExpectRefused({"--chat", "--messages", "m", "--system", "b"}, 2, "--system");
  for (const char* option : {"--top-k", "--top-p", "--min-p", "--seed"}) {
    ExpectRefused({"-p", "a", option, "1"}, 2, "change nothing without --temperature");
  }
  ExpectRefused({"-p", "a", "--temperature", "-1"}, 2, "--temperature: -1 is not between");
  ExpectRefused({"-p", "a", "--temperature", "1", "--top-p", "0"}, 2, "--top-p: 0 is not between");
  ExpectRefused({"-p", "a", "--temperature", "1", "--min-p", "1.5"}, 2, "--min-p: 1.5 is not between");
  ExpectRefused({"-p", "a", "--temperature", "1", "--seed", "-1"}, 2, "--seed");
  ExpectRefused({"-p", "a", "--stop", ""}, 2, "--stop");
}

// A prompt that begins with BOS gets no second.
TEST_F(Generate, BosIsNotDoubled) {
  WriteTinyModel(folder_ / "model");
  const std::string model = (folder_ / "model").string();
  const auto tokens = [&](const CommandWords& more) {
    CommandWords words = {"--print-prompt"};
    words.insert(words.end(), more.begin(), more.end());
    return Document(words, model)["tokens"];
  };
  const json plain = tokens({"-p", "bc"});
  ASSERT_EQ(plain.size(), 2u);
  Write("model/tokenizer_config.json", R"({"bos_token": "a", "add_bos_token": true})");
  const json with = tokens({"-p", "bc"});
  ASSERT_EQ(with.size(), 3u);
  EXPECT_EQ(tokens({"-p", "abc"}), with);
  const std::string chat = Write("chat.jinja", "{{ bos_token }}{{ messages[0].content }}");
  EXPECT_EQ(tokens({"-p", "bc", "--chat", "--chat-template", chat}), with);
  EXPECT_EQ(tokens({"-p", "bc", "--chat", "--chat-template", Write("chat2.jinja", "{{ messages[0].content }}")}), plain)
      << "a chat has the BOS that its template writes";
}

}  // namespace
}  // namespace marlin
