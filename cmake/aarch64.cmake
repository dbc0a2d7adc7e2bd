# The tests of base, formats and kernels once more, compiled for AArch64 and run by QEMU: this tests NEON kernels on
# machines other than ARM. Their names in ctest begin with "aarch64.". If they cannot run, one test is skipped with the
# reason.
find_program(MARLIN_AARCH64_CXX aarch64-linux-gnu-g++)
find_program(MARLIN_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)

# Sets `result` to why the tests cannot run here; empty when they can.
function(marlin_why_no_aarch64 result)
  set(folder ${CMAKE_BINARY_DIR}/aarch64)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(${result} "this machine is an ARM: its own tests are those of NEON" PARENT_SCOPE)
    return()
  endif()
  file(WRITE ${folder}/probe.cc "#include <string>\nint main() { return std::string().size(); }\n")
  execute_process(COMMAND ${MARLIN_AARCH64_CXX} -static ${folder}/probe.cc -o ${folder}/probe
    RESULT_VARIABLE not_compiled OUTPUT_QUIET ERROR_QUIET)
  execute_process(COMMAND ${MARLIN_QEMU_AARCH64} ${folder}/probe RESULT_VARIABLE not_run OUTPUT_QUIET ERROR_QUIET)
  if(not_compiled OR not_run)
    set(${result} "no AArch64 compiler and emulator that work (Debian: g++-aarch64-linux-gnu, qemu-user-static)" PARENT_SCOPE)
  elseif(NOT EXISTS /usr/src/googletest/googletest/src/gtest-all.cc)
    set(${result} "no sources of GoogleTest to compile for AArch64 (Debian: googletest)" PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

marlin_why_no_aarch64(reason)
if(reason)
  add_test(NAME aarch64 COMMAND ${CMAKE_COMMAND} -E echo ${reason})
  set_tests_properties(aarch64 PROPERTIES SKIP_REGULAR_EXPRESSION ".")
  return()
endif()

include(ExternalProject)
set(folder ${CMAKE_BINARY_DIR}/aarch64)
ExternalProject_Add(marlin_aarch64
  SOURCE_DIR ${CMAKE_SOURCE_DIR}
  PREFIX ${folder}/steps
  BINARY_DIR ${folder}
  CMAKE_ARGS
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=${MARLIN_AARCH64_CXX}
    -DCMAKE_CROSSCOMPILING_EMULATOR=${MARLIN_QEMU_AARCH64} -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CXX_FLAGS=
    -DCMAKE_BUILD_TYPE=Release -DMARLIN_WERROR=${MARLIN_WERROR} -DMARLIN_KERNELS_ONLY=ON -DMARLIN_TEST_PREFIX=aarch64.
  BUILD_COMMAND ${CMAKE_COMMAND} --build . --parallel 2
  BUILD_ALWAYS ON
  LOG_CONFIGURE ON LOG_BUILD ON LOG_MERGED_STDOUTERR ON LOG_OUTPUT_ON_FAILURE ON
  INSTALL_COMMAND "")

# The inner build lists its tests when it has them.
file(WRITE ${folder}/tests.cmake "if(EXISTS \"${folder}/CTestTestfile.cmake\")
  include(\"${folder}/CTestTestfile.cmake\")
else()
  add_test(aarch64_NOT_BUILT aarch64_NOT_BUILT)
endif()
")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${folder}/tests.cmake)
