# What base, formats, kernels and their tests need where nothing is installed for the target: fmt as headers, GoogleTest
# compiled from the sources that Debian's googletest package has.
find_package(Threads REQUIRED)

# A separate folder, because the folder of fmt's headers also contains the host's system headers.
find_path(MARLIN_FMT_HEADERS fmt/format.h PATHS /usr/include /usr/local/include NO_DEFAULT_PATH REQUIRED)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${MARLIN_FMT_HEADERS}/fmt ${CMAKE_BINARY_DIR}/include/fmt SYMBOLIC)
add_library(fmt::fmt INTERFACE IMPORTED)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)
target_include_directories(fmt::fmt INTERFACE ${CMAKE_BINARY_DIR}/include)

# Hashes, the only part of base that needs OpenSSL, are left out, and so is the test that takes some.
add_library(OpenSSL::Crypto INTERFACE IMPORTED)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/base/sha256.cc ${CMAKE_SOURCE_DIR}/src/base/file_test.cc
  PROPERTIES HEADER_FILE_ONLY ON)

if(MARLIN_TESTS)
  set(MARLIN_GOOGLETEST /usr/src/googletest/googletest CACHE PATH "GoogleTest's sources")
  add_library(gtest STATIC ${MARLIN_GOOGLETEST}/src/gtest-all.cc ${MARLIN_GOOGLETEST}/src/gtest_main.cc)
  target_include_directories(gtest SYSTEM PUBLIC ${MARLIN_GOOGLETEST}/include PRIVATE ${MARLIN_GOOGLETEST})
  target_compile_options(gtest PRIVATE -O0)
  target_link_libraries(gtest PUBLIC Threads::Threads)
  add_library(GTest::gtest ALIAS gtest)
  add_library(GTest::gtest_main ALIAS gtest)
  include(GoogleTest)
endif()
