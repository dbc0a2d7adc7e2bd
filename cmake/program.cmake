# The program. Its version contains the commit, which is read when the build runs, not when it is configured.
file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/*.cc)
list(FILTER cli_sources EXCLUDE REGEX "_test\\.cc$")
add_executable(metal-marlin ${cli_sources})
target_include_directories(metal-marlin PRIVATE ${CMAKE_BINARY_DIR}/generated)
target_link_libraries(metal-marlin PRIVATE marlin_study CLI11::CLI11)
marlin_optimize_little(metal-marlin)
marlin_compile_together(metal-marlin)

string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}}" build_flags)
add_custom_target(marlin_version
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUTPUT=${CMAKE_BINARY_DIR}/generated/version_info.h
    -DVERSION=${PROJECT_VERSION} "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}" "-DFLAGS=${build_flags}"
    -P ${CMAKE_SOURCE_DIR}/cmake/version.cmake
  BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/version_info.h
  COMMENT "")
add_dependencies(metal-marlin marlin_version)
install(TARGETS metal-marlin RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
