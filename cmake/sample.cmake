# The built-in sample text, compiled into the text library, so that an installed program has it too.
set(sample_input ${CMAKE_SOURCE_DIR}/data/sample/sample.txt)
set(sample_output ${CMAKE_BINARY_DIR}/generated/sample_text.cc)
add_custom_command(OUTPUT ${sample_output}
  COMMAND ${CMAKE_COMMAND} -DINPUT=${sample_input} -DOUTPUT=${sample_output} -DHEADER=text/sample_text.h -DFUNCTION=SampleText
    -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${sample_input} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  COMMENT "" VERBATIM)
target_sources(marlin_text PRIVATE ${sample_output})
