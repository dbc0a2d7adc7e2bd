#include "text/gguf_pre_tokenizers.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace marlin {
namespace {

using Steps = std::vector<PreTokenizerStep>;

// Cuts at the matches of each expression in turn; then words are bytes.
Steps Isolated(std::initializer_list<std::string_view> patterns) {
  Steps steps;
  for (const std::string_view pattern : patterns) {
    steps.emplace_back(SplitStep{std::string(pattern), SplitBehavior::kIsolated, false});
  }
  steps.emplace_back(ByteLevelStep{false, false});
  return steps;
}

Steps Gpt2() { return {ByteLevelStep{false, true}}; }
Steps DigitsGpt2() { return {DigitsStep{true}, ByteLevelStep{false, true}}; }

Steps Qwen2() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
                   R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Qwen35() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})re"
                   R"re(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Llama3() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
                   R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Jais2() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
                   R"re(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))re"
                   R"re(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})re"});
}

Steps DeepSeekLlm() {
  Steps steps = Isolated(
      {R"([\r\n])",
       R"re(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-)re"
       R"re(ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ)re"
       R"re(-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)re",
       R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", R"([一-龥ࠀ-一가-퟿]+)"});
  steps.insert(steps.end() - 1, DigitsStep{true});
  return steps;
}

Steps DeepSeekCoder() {
  Steps steps = Isolated({R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", R"([一-龥ࠀ-一가-퟿]+)"});
  steps.insert(steps.end() - 1, DigitsStep{true});
  return steps;
}

Steps DeepSeek3() {
  return Isolated({R"re(\p{N}{1,3})re", R"re([一-龥぀-ゟ゠-ヿ]+)re",
                   R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)re"
                   R"re(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Spark25() {
  return Isolated({R"re(\p{N}{1,3})re", R"re([一-龥぀-ゟ゠-ヿ]+)re",
                   R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)re"
                   R"re(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)re",
                   R"re(\p{N})re"});
}

Steps Youtu() {
  return Isolated(
      {R"re([가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+)re",
       R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve)re"
       R"re(|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s)re"
       R"re(|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Falcon() {
  return {PunctuationStep{SplitBehavior::kContiguous}, ByteLevelStep{false, true}, DigitsStep{false},
          SplitStep{"[0-9][0-9][0-9]", SplitBehavior::kIsolated, false}};
}

Steps Bloom() { return Isolated({R"re( ?[^(\s|.,!?…。，、।۔،)]+)re"}); }

Steps Viking() { return Isolated({R"re( ?[^(\s|.,!?…。，、।۔،)]+)re", R"re(\p{N})re"}); }

Steps Tekken() {
  return Isolated({R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)re"
                   R"re(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})re"
                   R"re(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Gpt4o() {
  return Isolated(
      {R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve)re"
       R"re(|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s)re"
       R"re(|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Chameleon() {
  Steps steps = Isolated({"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", R"([\t\n]|    |  )", R"(\p{N})",
                          R"([\p{P}!-/:-@\[-`{-~])"});
  steps.back() = ByteLevelStep{false, true};
  return steps;
}

Steps SuperBpe() { return Isolated({R"re(\p{N}+)re", R"re((?=(\d{3})+(?!\d)))re"}); }

Steps Bailing() {
  return Isolated({R"re('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n])re"
                   R"re(|\s+(?!\S)|\s+)re"});
}

Steps SeedCoder() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)re"
                   R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Ufakzeka() {
  return Isolated({R"re([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps Laguna() {
  return Isolated({R"re([^\n]+|[\n]+)re",
                   R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
                   R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

Steps ExaoneMoe() {
  return Isolated({R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N})re"
                   R"re(| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)re"});
}

Steps MiniCpm5() {
  return Isolated({R"re(\p{N}{1,3})re",
                   R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
                   R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re"});
}

// Without a name, as old files are.
Steps Default() { return Isolated({R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Words, R"(\p{N}+)", "[0-9][0-9][0-9]"}); }

// Name, steps, NFC, ignore_merges, BOS.
constexpr std::array kPreTokenizers = {
    GgufPreTokenizer{"gpt-2", &Gpt2, false, false, false},
    GgufPreTokenizer{"phi-2", &Gpt2, false, false, false},
    GgufPreTokenizer{"jina-es", &Gpt2, false, false, false},
    GgufPreTokenizer{"jina-de", &Gpt2, false, false, false},
    GgufPreTokenizer{"gigachat", &Gpt2, false, false, false},
    GgufPreTokenizer{"jina-v2-es", &Gpt2, false, false, false},
    GgufPreTokenizer{"jina-v2-de", &Gpt2, false, false, false},
    GgufPreTokenizer{"a.x-4.0", &Gpt2, false, false, false},
    GgufPreTokenizer{"mellum", &Gpt2, false, false, false},
    GgufPreTokenizer{"modern-bert", &Gpt2, false, false, false},
    GgufPreTokenizer{"jais", &Gpt2, false, false, false},
    GgufPreTokenizer{"trillion", &Gpt2, false, false, false},
    GgufPreTokenizer{"granite-docling", &Gpt2, false, false, false},
    GgufPreTokenizer{"exaone4", &Gpt2, false, false, false},
    GgufPreTokenizer{"mpt", &Gpt2, true, false, false},
    GgufPreTokenizer{"olmo", &Gpt2, true, false, false},
    GgufPreTokenizer{"smollm", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"starcoder", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"refact", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"codeshell", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"exaone", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"minerva-7b", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"mellum2", &DigitsGpt2, false, false, false},
    GgufPreTokenizer{"command-r", &DigitsGpt2, true, false, false},
    GgufPreTokenizer{"qwen2", &Qwen2, true, false, false},
    GgufPreTokenizer{"deepseek-r1-qwen", &Qwen2, true, false, false},
    GgufPreTokenizer{"stablelm2", &Qwen2, false, false, false},
    GgufPreTokenizer{"megrez", &Qwen2, false, false, false},
    GgufPreTokenizer{"hunyuan", &Qwen2, false, false, false},
    GgufPreTokenizer{"solar-open", &Qwen2, false, false, false},
    GgufPreTokenizer{"kormo", &Qwen2, false, false, false},
    GgufPreTokenizer{"f2llmv2", &Qwen2, false, false, false},
    GgufPreTokenizer{"grok-2", &Qwen2, false, false, false},
    GgufPreTokenizer{"qwen35", &Qwen35, true, false, false},
    GgufPreTokenizer{"llama-bpe", &Llama3, false, true, true},
    GgufPreTokenizer{"llama3", &Llama3, false, true, true},
    GgufPreTokenizer{"llama-v3", &Llama3, false, true, true},
    GgufPreTokenizer{"falcon3", &Llama3, false, true, true},
    GgufPreTokenizer{"falcon-h1", &Llama3, false, true, true},
    GgufPreTokenizer{"pixtral", &Llama3, false, true, true},
    GgufPreTokenizer{"midm-2.0", &Llama3, false, true, true},
    GgufPreTokenizer{"lfm2", &Llama3, false, true, true},
    GgufPreTokenizer{"jina-v5-nano", &Llama3, false, true, true},
    GgufPreTokenizer{"dbrx", &Llama3, false, false, false},
    GgufPreTokenizer{"smaug-bpe", &Llama3, false, false, false},
    GgufPreTokenizer{"chatglm-bpe", &Llama3, false, false, false},
    GgufPreTokenizer{"glm4", &Llama3, false, true, false},
    GgufPreTokenizer{"glm5", &Llama3, false, true, false},
    GgufPreTokenizer{"jais-2", &Jais2, false, false, false},
    GgufPreTokenizer{"deepseek-llm", &DeepSeekLlm, false, false, false},
    GgufPreTokenizer{"deepseek-coder", &DeepSeekCoder, false, false, false},
    GgufPreTokenizer{"deepseek-v3", &DeepSeek3, false, false, false},
    GgufPreTokenizer{"hunyuan-dense", &DeepSeek3, false, false, false},
    GgufPreTokenizer{"joyai-llm", &DeepSeek3, false, false, false},
    GgufPreTokenizer{"hy_v4", &DeepSeek3, false, false, false},
    GgufPreTokenizer{"spark2_5", &Spark25, false, false, false},
    GgufPreTokenizer{"youtu", &Youtu, false, true, false},
    GgufPreTokenizer{"falcon", &Falcon, false, false, false},
    GgufPreTokenizer{"bloom", &Bloom, false, false, false},
    GgufPreTokenizer{"poro-chat", &Bloom, false, false, false},
    GgufPreTokenizer{"gpt3-finnish", &Bloom, false, false, false},
    GgufPreTokenizer{"viking", &Viking, false, false, false},
    GgufPreTokenizer{"tekken", &Tekken, false, true, true},
    GgufPreTokenizer{"gpt-4o", &Gpt4o, false, false, false},
    GgufPreTokenizer{"llama4", &Gpt4o, false, false, false},
    GgufPreTokenizer{"kanana2", &Gpt4o, false, false, false},
    GgufPreTokenizer{"talkie", &Gpt4o, false, false, false},
    GgufPreTokenizer{"minimax-m2", &Gpt4o, false, false, false},
    GgufPreTokenizer{"granite-embed-multi-97m", &Gpt4o, false, true, false},
    GgufPreTokenizer{"chameleon", &Chameleon, false, false, true},
    GgufPreTokenizer{"superbpe", &SuperBpe, false, false, false},
    GgufPreTokenizer{"bailingmoe", &Bailing, false, false, false},
    GgufPreTokenizer{"bailingmoe2", &Bailing, false, false, false},
    GgufPreTokenizer{"llada-moe", &Bailing, false, false, false},
    GgufPreTokenizer{"seed-coder", &SeedCoder, false, false, false},
    GgufPreTokenizer{"ufakzeka", &Ufakzeka, false, false, false},
    GgufPreTokenizer{"laguna", &Laguna, false, false, false},
    GgufPreTokenizer{"exaone-moe", &ExaoneMoe, false, false, false},
    GgufPreTokenizer{"minicpm5", &MiniCpm5, false, true, false},
    GgufPreTokenizer{"default", &Default, false, false, false},
};

}  // namespace

const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name) {
  const auto found = std::ranges::find(kPreTokenizers, name, &GgufPreTokenizer::name);
  return found == kPreTokenizers.end() ? nullptr : &*found;
}

namespace {

std::string DigestOf(const std::vector<PreTokenizerStep>& steps) {
  TokenizerHasher hasher;
  for (const PreTokenizerStep& step : steps) HashStep(step, hasher);
  return hasher.Digest();
}

}  // namespace

const GgufPreTokenizer* FindGgufPreTokenizer(const std::vector<PreTokenizerStep>& steps, bool nfc, bool ignore_merges) {
  const std::string wanted = DigestOf(steps);
  const auto found = std::ranges::find_if(kPreTokenizers, [&](const GgufPreTokenizer& row) {
    return row.nfc == nfc && row.ignore_merges == ignore_merges && DigestOf(row.steps()) == wanted;
  });
  return found == kPreTokenizers.end() ? nullptr : &*found;
}

std::string GgufPreTokenizerNames() {
  std::string names;
  for (const GgufPreTokenizer& row : kPreTokenizers) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

}  // namespace marlin
