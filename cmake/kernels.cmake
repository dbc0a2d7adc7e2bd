# One object library per instruction set, compiled with that set's flags and exporting only its kernel table, so that no
# inline function compiled for a newer machine can be picked by the linker for an older one (tests/check_isa_symbols.sh).
function(marlin_isa name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cpu/${name}/*.cc)
  add_library(marlin_kernels_${name} OBJECT ${sources})
  target_include_directories(marlin_kernels_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(marlin_kernels_${name} PRIVATE ${ARGN})
  target_sources(marlin_kernels PRIVATE $<TARGET_OBJECTS:marlin_kernels_${name}>)
endfunction()

# The backend for NVIDIA devices. What it needs of CUDA beside the driver is in the program; cuBLAS is loaded when a device is opened.
if(MARLIN_CUDA)
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it
  find_package(CUDAToolkit REQUIRED)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cu ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cc)
  list(FILTER cuda_sources EXCLUDE REGEX "without_cuda\\.cc$")
  add_library(marlin_cuda OBJECT ${cuda_sources})
  target_include_directories(marlin_cuda PRIVATE ${CMAKE_SOURCE_DIR}/src ${CUDAToolkit_INCLUDE_DIRS})
  set_target_properties(marlin_cuda PROPERTIES CUDA_ARCHITECTURES "${MARLIN_CUDA_ARCHITECTURES}")
  # As for C++, a * b + c rounds twice unless the source says FMA.
  # 177: names that kernels do not use where they are empty, for older architectures.
  target_compile_options(marlin_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --extended-lambda --expt-relaxed-constexpr
    --diag-suppress=177>)
  # Products of many tokens need what only sm_90a has (src/kernels/cuda/wgmma.cuh).
  if(MARLIN_CUDA_ARCHITECTURES MATCHES "90a")
    target_compile_definitions(marlin_cuda PRIVATE MARLIN_CUDA_HAS_SM_90A)
  endif()
  target_sources(marlin_kernels PRIVATE $<TARGET_OBJECTS:marlin_cuda>)
  target_link_libraries(marlin_kernels PRIVATE CUDA::cudart_static)
else()
  # The packer of weights and the programs of chains are tested without a device (cuda_layout_test.cc,
  # cuda_chain_program_test.cc).
  target_sources(marlin_kernels PRIVATE src/kernels/cuda/without_cuda.cc src/kernels/cuda/few_pack.cc
    src/kernels/cuda/chain_program.cc)
endif()

marlin_isa(scalar)
if(MARLIN_FUZZ)
  return()  # no parser multiplies
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(avx2 -fno-exceptions -mavx2 -mfma -mf16c)
  marlin_isa(avx2 ${avx2})
  # GCC 12 otherwise joins the sums of different steps and keeps them in memory.
  set(apart $<$<CXX_COMPILER_ID:GNU>:-fno-tree-coalesce-vars>)
  marlin_isa(avxvnni ${avx2} -mavxvnni ${apart})
  # GCC 12's own AVX-512 header looks uninitialized to it (GCC bug 105593).
  set(avx512 -fno-exceptions -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
    $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  marlin_isa(avx512 ${avx512})
  marlin_isa(avx512vnni ${avx512} -mavx512vnni ${apart})
  marlin_isa(avx512vbmi ${avx512} -mavx512vnni -mavx512vbmi ${apart})
  marlin_isa(avx512bf16 ${avx512} -mavx512bf16)
  target_compile_definitions(marlin_kernels PUBLIC MARLIN_X86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # GCC's scheduler loads ahead of 24 sums and spills; its limit for unrolling leaves the sums of few tokens in memory.
  set(neon $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns> $<$<CXX_COMPILER_ID:GNU>:--param=max-completely-peeled-insns=2000>)
  marlin_isa(neon ${neon})
  marlin_isa(neondotprod -march=armv8.2-a+dotprod ${neon})
  marlin_isa(neoni8mm -march=armv8.2-a+dotprod+i8mm ${neon})
  marlin_isa(neonbf16 -march=armv8.2-a+bf16 ${neon})
  target_compile_definitions(marlin_kernels PUBLIC MARLIN_ARM64)
endif()
