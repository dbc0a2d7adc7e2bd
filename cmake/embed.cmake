# Writes OUTPUT, a source file that defines `std::string_view marlin::FUNCTION()` with the bytes of INPUTS, which bars separate.
string(REPLACE "|" ";" inputs "${INPUTS}")
set(bytes "")
foreach(input IN LISTS inputs)
  file(READ ${input} more HEX)
  string(APPEND bytes "${more}")
endforeach()
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace marlin {
namespace {
constexpr unsigned char kEmbeddedBytes[] = {
${bytes}
};
}  // namespace

std::string_view ${FUNCTION}() { return {reinterpret_cast<const char*>(kEmbeddedBytes), sizeof kEmbeddedBytes}; }

}  // namespace marlin
")
