# Writes OUTPUT, a source file that defines `std::string_view marlin::FUNCTION()` with the bytes of INPUT.
file(READ ${INPUT} bytes HEX)
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
