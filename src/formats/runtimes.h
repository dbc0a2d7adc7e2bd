// Which programs run which formats, each with its own kernels: the list behind `plan --for` and the tables of reports.
// files/ knows how the formats are stored for them.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/format.h"

namespace marlin {

// A format in the files of a runtime, without loss.
struct HeldFormat {
  std::string_view format;
  std::size_t block = 0;  // rows are multiples of this; 0: of the format's group or block
  double bits = 0;        // per weight, where the files need more than the format; 0: as many
};

struct Runtime {
  std::string_view name;                // "gguf": what `plan --for` calls it
  std::string_view container;           // what `export --to` calls its files
  std::string_view ending;              // usual for the name of such a file or folder
  std::string_view programs;            // "llama.cpp"
  std::span<const HeldFormat> formats;  // all that its files hold
  std::string_view planned;             // those that a plan chooses from: it runs them fast; the first is the probe
  double budget_bits = 0;               // of a plan where the user names no budget
  std::size_t row_multiple = 1;         // rows of other lengths stay in 16 bits
  bool embeddings = true;               // it runs quantized ones
  bool typed_scales = false;            // its files hold scales in the type of `export --type`
};

inline constexpr std::string_view kRuntimesAsOf = "November 2026";

// Blocks of GGUF repeat the scale and the zero point of a longer group.
inline constexpr auto kInGguf = std::to_array<HeldFormat>({{"q4_0"},
                                                           {"q4_1"},
                                                           {"q5_0"},
                                                           {"q5_1"},
                                                           {"q8_0"},
                                                           {"q4_k"},
                                                           {"q5_k"},
                                                           {"q6_k"},
                                                           {"iq4_nl"},
                                                           {"mxfp4"},
                                                           {"mlx-nvfp4", 64},
                                                           {"int8-g128", 32, 8.5},
                                                           {"int4-g64", 32, 5},
                                                           {"int4-g128", 32, 5},
                                                           {"mlx4-g32"},
                                                           {"mlx4-g64", 32, 5},
                                                           {"mlx4-g128", 32, 5}});
// MLX stores a bias beside each scale. Sizes with scales of 16 bits.
inline constexpr auto kInMlx = std::to_array<HeldFormat>({{"mlx4-g32"},
                                                          {"mlx4-g64"},
                                                          {"mlx4-g128"},
                                                          {"mxfp4"},
                                                          {"mlx-nvfp4"},
                                                          {"q8_0", 0, 9},
                                                          {"int8-g128", 0, 8.25},
                                                          {"q4_0", 0, 5},
                                                          {"q4_1"},
                                                          {"int4-g64", 0, 4.5},
                                                          {"int4-g128", 0, 4.25}});
inline constexpr auto kInCompressedTensors =
    std::to_array<HeldFormat>({{"int4-g64"}, {"int4-g128"}, {"q4_0"}, {"int8-g128"}, {"mxfp4"}, {"nvfp4"}});

// vLLM: the kernels called Marlin.
inline constexpr std::array kRuntimes = {
    Runtime{"gguf", "gguf", ".gguf", "llama.cpp", kInGguf, "q4_0 iq4_nl q4_k q5_k q6_k q8_0", 4.85},
    Runtime{"mlx", "mlx", "-mlx", "MLX", kInMlx, "mlx4-g64 mlx4-g32 mlx4-g128 mxfp4 q8_0", 4.75, 1, true, true},
    Runtime{"vllm", "compressed-tensors", "-ct", "vLLM", kInCompressedTensors, "int4-g128 int4-g64 q4_0 int8-g128", 4.5,
            128, false},
};

// Errors: kUsage, naming the runtimes there are.
Result<const Runtime*> ParseRuntime(std::string_view name);

// The rows of a list of formats, such as Runtime::planned. Every name is known.
std::vector<const FormatRow*> FormatsOf(std::string_view names);

// How a runtime's files hold the format; nullptr: they do not.
const HeldFormat* FindHeld(const Runtime& runtime, const FormatInfo& format);

// The rows that they hold are multiples of this.
std::size_t BlockOf(const HeldFormat& stored, const FormatInfo& format);

// Whether they hold it in rows of this length, and the runtime runs those.
bool RunsRows(const Runtime& runtime, const FormatInfo& format, std::size_t cols);

}  // namespace marlin
