// Inner loops over neighbour lists, which each instruction set has its own of.
#pragma once

#include <cstdint>

namespace pointkernels {

struct GraphKernels {
  // How many of the k entries of each list are not -1; returns their sum, or -1 where one is neither -1 nor in [0,
  // cloud_size).
  int64_t (*count_neighbors)(const int64_t* neighbors, int64_t rows, int64_t k, int64_t cloud_size, int32_t* degrees);
};

}  // namespace pointkernels
