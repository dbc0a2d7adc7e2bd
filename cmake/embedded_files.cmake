# Files that are compiled into the program, so that an installed program has them too.

# Adds FUNCTION, declared in HEADER, to the library of ROOM: `std::string_view marlin::FUNCTION()` gives the bytes of the FILES, one
# after the other.
function(marlin_embed room function header)
  set(output ${CMAKE_BINARY_DIR}/generated/embedded_${function}.cc)
  list(JOIN ARGN "|" inputs)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} "-DINPUTS=${inputs}" -DOUTPUT=${output} -DHEADER=${header} -DFUNCTION=${function}
      -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${ARGN} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    COMMENT "" VERBATIM)
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(marlin_${room} PRIVATE ${output})
endfunction()

marlin_embed(text SampleText text/sample_text.h ${CMAKE_SOURCE_DIR}/data/sample/sample.txt)
set(page ${CMAKE_SOURCE_DIR}/data/page)
marlin_embed(report PageStyle report/page_assets.h ${page}/page.css)
marlin_embed(report PageScript report/page_assets.h ${page}/tables.js ${page}/charts.js ${page}/page.js)
marlin_embed(report ChartLibrary report/page_assets.h ${MARLIN_CHART_JS})
