# marlin_room(NAME [DEPENDS rooms...] [LIBRARIES targets...]): the library marlin_NAME from src/NAME/*.cc, and, when
# tests are built, the test program marlin_NAME_test from src/NAME/*_test.cc. The folder is the list.
function(marlin_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ROOM_DEPENDS PREPEND marlin_ OUTPUT_VARIABLE rooms)

  add_library(marlin_${name} STATIC ${sources})
  target_include_directories(marlin_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(marlin_${name} PUBLIC ${rooms} ${ROOM_LIBRARIES})
  if(MARLIN_TESTS AND tests)
    marlin_test(marlin_${name}_test SOURCES ${tests} LIBRARIES marlin_${name})
  endif()
endfunction()

# marlin_compile_fast(TARGET): for code whose speed does not matter; templates compile in a third of the time.
function(marlin_compile_fast target)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# marlin_test(NAME SOURCES ... LIBRARIES ...): a GoogleTest program; every test case is one test of ctest.
function(marlin_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_LIBRARIES} GTest::gtest GTest::gtest_main)
  marlin_compile_fast(${name})
  if(NOT MARLIN_KERNELS_ONLY)
    target_compile_definitions(${name} PRIVATE MARLIN_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MARLIN_PROGRAM="$<TARGET_FILE:metal-marlin>")
    add_dependencies(${name} metal-marlin)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${MARLIN_TEST_PREFIX}" DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 600)
endfunction()
