# marlin_room(NAME [DEPENDS rooms...] [LIBRARIES targets...] [HOT files... | HOT ALL] [HOT_TESTS] [GLASS] [SHARDS n] [COST seconds]):
# the library marlin_NAME from src/NAME/*.cc, and, when tests are built, the test program marlin_NAME_test from
# src/NAME/*_test.cc. The folder is the list.
# HOT names the files whose own loops take time when the program runs. They are compiled with the full optimization of the
# build type, all others with -O1, which takes half of the time to compile. HOT_TESTS, GLASS, SHARDS and COST are for
# marlin_test.
function(marlin_room name)
  cmake_parse_arguments(ROOM "HOT_TESTS;GLASS" "SHARDS;COST" "DEPENDS;LIBRARIES;HOT" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc ${CMAKE_SOURCE_DIR}/src/${name}/families/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ROOM_DEPENDS PREPEND marlin_ OUTPUT_VARIABLE rooms)

  if(ROOM_HOT STREQUAL "ALL")
    add_library(marlin_${name} STATIC ${sources})
  else()
    list(TRANSFORM ROOM_HOT PREPEND ${CMAKE_SOURCE_DIR}/src/${name}/)
    list(REMOVE_ITEM sources ${ROOM_HOT})
    add_library(marlin_${name} STATIC ${sources})
    marlin_optimize_little(marlin_${name})
  endif()
  target_include_directories(marlin_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(marlin_${name} PUBLIC ${rooms} ${ROOM_LIBRARIES})
  marlin_compile_together(marlin_${name})
  if(ROOM_HOT AND NOT ROOM_HOT STREQUAL "ALL")
    add_library(marlin_${name}_hot OBJECT ${ROOM_HOT})
    target_include_directories(marlin_${name}_hot PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(marlin_${name}_hot PRIVATE ${rooms} ${ROOM_LIBRARIES})
    marlin_compile_together(marlin_${name}_hot)
    target_sources(marlin_${name} PRIVATE $<TARGET_OBJECTS:marlin_${name}_hot>)
  endif()
  if(MARLIN_TESTS AND tests)
    if(ROOM_HOT_TESTS)
      set(hot HOT)
    endif()
    if(ROOM_GLASS)
      set(glass GLASS)
    endif()
    marlin_test(marlin_${name}_test ${hot} ${glass} SOURCES ${tests} LIBRARIES marlin_${name} SHARDS ${ROOM_SHARDS} COST ${ROOM_COST})
  endif()
endfunction()

# marlin_optimize_little(TARGET): -O1 in a release build, for code whose speed does not matter.
function(marlin_optimize_little target)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# marlin_compile_together(TARGET): the compiler reads up to 16 sources of the target at once, and their headers once. Names
# in the anonymous namespaces of a room must differ for that. MARLIN_TOGETHER=OFF compiles each source by itself.
function(marlin_compile_together target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${MARLIN_TOGETHER} UNITY_BUILD_BATCH_SIZE 16)
endfunction()

# marlin_test(NAME SOURCES ... LIBRARIES ... [SHARDS n] [COST seconds] [APART] [HOT] [GLASS]): a GoogleTest program. HOT says that the
# tests have loops of their own which take time: they are compiled with -O1 instead of -O0. ctest runs its cases in
# n processes, NAME.0 to NAME.n-1, or with APART each case in a process of its own, the costly ones first. Every process
# writes an XML report into test_results/, from which tools/run_tests.py counts and names cases. GLASS runs the program a second
# time, as glass.NAME, with the backends of kernels/test_device.h on the glass device.
function(marlin_test name)
  cmake_parse_arguments(TEST "APART;HOT;GLASS" "SHARDS;COST" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_LIBRARIES} GTest::gtest GTest::gtest_main)
  if(TEST_HOT)
    marlin_optimize_little(${name})
  elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${name} PRIVATE -O0)
  endif()
  marlin_compile_together(${name})
  if(NOT MARLIN_KERNELS_ONLY)
    target_compile_definitions(${name} PRIVATE MARLIN_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MARLIN_PROGRAM="$<TARGET_FILE:metal-marlin>")
    set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS $<TARGET_FILE:metal-marlin>)
  endif()
  if(NOT TEST_COST)
    set(TEST_COST 1)
  endif()
  set(reports ${CMAKE_BINARY_DIR}/test_results)
  if(TEST_APART)
    gtest_discover_tests(${name} TEST_PREFIX "${MARLIN_TEST_PREFIX}" DISCOVERY_TIMEOUT 120 XML_OUTPUT_DIR ${reports}/
      PROPERTIES TIMEOUT 600 COST ${TEST_COST})
    return()
  endif()
  if(NOT TEST_SHARDS)
    set(TEST_SHARDS 1)
  endif()
  math(EXPR last "${TEST_SHARDS} - 1")
  foreach(shard RANGE ${last})
    set(shard_name ${MARLIN_TEST_PREFIX}${name}.${shard})
    set(environment "GTEST_TOTAL_SHARDS=${TEST_SHARDS};GTEST_SHARD_INDEX=${shard}")
    add_test(NAME ${shard_name} COMMAND ${name} --gtest_output=xml:${reports}/${shard_name}.xml)
    set_tests_properties(${shard_name} PROPERTIES TIMEOUT 1200 COST ${TEST_COST} ENVIRONMENT "${environment}")
    if(TEST_GLASS)
      add_test(NAME glass.${shard_name} COMMAND ${name} --gtest_output=xml:${reports}/glass.${shard_name}.xml)
      set_tests_properties(glass.${shard_name} PROPERTIES TIMEOUT 1200 COST ${TEST_COST}
        ENVIRONMENT "${environment};MARLIN_TEST_DEVICE=glass")
    endif()
  endforeach()
endfunction()
