// What few.cu hands to the kernels of few_kernel.cuh.
#pragma once

#include <cstdint>

#include "kernels/cuda/few.h"

namespace marlin::cuda {

struct FewMatrix {
  const std::uint8_t* records;
  const float* bias;  // or null
  View<float> out;
  int rows;
  int panels;
  float factor;  // of all sums: PowerOfNumbers * FewWeight::unit
};

struct FewArgs {
  FewMatrix matrices[kMostTogether];
  int count;  // of matrices
  const std::uint8_t* halves;
  const std::uint8_t* token_sums;
  const float* powers;
  bool adds;  // out += factor * products, else out = the products
  float factor;
  int tokens;
  int panels;        // of all matrices
  int blocks;        // of columns
  int cluster_log2;  // blocks of a cluster divide the columns
  int clusters;      // that work side by side: the distance between the tiles of one
  int copies_left;   // when the next kernel may start
  int held;          // blocks without work, behind the others
};

// How the rows of a weight are divided.
struct FewDivision {
  int tiles = 4;  // of a block
  int cluster_log2 = 0;
  int blocks = 0;      // in all
  int processors = 1;  // of the device
};

// Each launches the kernel of the format, if it has one.
using LaunchFewFn = bool(const FewFormat& format, const FewArgs& args, const FewDivision& division,
                         cudaStream_t stream);
LaunchFewFn LaunchFewFp4, LaunchFewIq4, LaunchFewInt4, LaunchFewInt4Zeros, LaunchFewInt4Biased, LaunchFewInt5,
    LaunchFewInt5Biased, LaunchFewInt6, LaunchFewInt8;

}  // namespace marlin::cuda
