# How everything is compiled when MARLIN_FUZZ is on: coverage for libFuzzer, and the first fault ends the program.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "MARLIN_FUZZ needs Clang, whose libFuzzer runs the targets; got ${CMAKE_CXX_COMPILER_ID}. "
    "Configure with -DCMAKE_CXX_COMPILER=clang++, or use the preset: cmake --preset fuzz")
endif()
add_compile_options(-O1 -gline-tables-only -fno-omit-frame-pointer
  -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
add_link_options(-fsanitize=address,undefined)
