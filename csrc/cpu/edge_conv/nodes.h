// Where EdgeConv has its node products [u | v] from, and how the work on a batch is shared out.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "../linear/products.h"
#include "../threads/parallel.h"
#include "edge_conv.h"

namespace pointkernels {

// Rows per unit of parallel work. Sums over rows are taken per unit and then over units in order, so that they do not
// depend on the number of threads.
inline constexpr int64_t kEdgeConvRows = 128;

// Rows up to which several clouds make a window.
inline constexpr int64_t kEdgeConvWindow = 1024;

// The part of a second-level cache of 1 MiB or more that edges may lead to, and the fewest channels worth a pass over
// the lists.
inline constexpr int64_t kEdgeConvCache = 640 << 10, kEdgeConvChannels = 32;

// Channels of a piece of work: so few that what is needed of the rows that edges lead to, `bytes` a channel, stays in
// the cache.
inline int64_t edge_conv_channels(int64_t rows, int64_t channels, int64_t bytes) {
  const int64_t fit = kEdgeConvCache / (bytes * std::max<int64_t>(rows, 1)) / kEdgeConvChannels * kEdgeConvChannels;
  // A cloud that does not fit with the fewest channels does not fit at all.
  return fit < kEdgeConvChannels ? channels : std::min(fit, channels);
}

// How far rows of so many numbers are apart: an odd number of cache lines, so that no part of a cache is left over.
template <typename T>
int64_t edge_conv_stride(int64_t columns) {
  constexpr int64_t kLine = 64 / sizeof(T);
  return ((columns + kLine - 1) / kLine | 1) * kLine;
}

// Clouds are worked on one after the other, small ones several together: the rows of a window.
inline int64_t edge_conv_window(int64_t cloud_size) {
  return cloud_size > 0 && cloud_size < kEdgeConvWindow ? kEdgeConvWindow / cloud_size * cloud_size : cloud_size;
}

// A window cut into pieces: all its rows by kEdgeConvRows for some channels, then for the next.
struct EdgeConvPieces {
  int64_t rows, channels;
  int64_t units, block;  // units of rows, and channels of a piece

  EdgeConvPieces(int64_t rows, int64_t channels, int64_t block)
      : rows(rows), channels(channels), units((rows + kEdgeConvRows - 1) / kEdgeConvRows), block(block) {}

  int64_t count() const { return channels > 0 ? units * ((channels + block - 1) / block) : 0; }
  int64_t unit(int64_t index) const { return index % units; }
  EdgeConvPiece operator[](int64_t index) const {
    const int64_t begin = unit(index) * kEdgeConvRows, channel = index / units * block;
    return {begin, std::min(begin + kEdgeConvRows, rows), channel, std::min(channel + block, channels)};
  }
};

// Fewer windows than threads: all threads work on one after the other.
template <typename Work>
void for_each_window(int64_t windows, const Work& work) {
  if (windows < threads_here()) {
    work(0, windows);
  } else {
    parallel_for_last_together(windows, work);
  }
}

// A layer's weight (channels, 2 inputs), of [x_j - x_i, x_i], as the one of [u | v]: (2 channels, inputs).
template <typename T>
std::vector<T> edge_conv_node_weight(const T* weight, int64_t channels, int64_t inputs) {
  std::vector<T> nodes(2 * channels * inputs);
  for (int64_t o = 0; o < channels; ++o) {
    const T *of_difference = weight + 2 * o * inputs, *of_own = of_difference + inputs;
    for (int64_t c = 0; c < inputs; ++c) {
      nodes[o * inputs + c] = of_difference[c];
      nodes[(channels + o) * inputs + c] = of_own[c] - of_difference[c];
    }
  }
  return nodes;
}

// Node products, given or made window by window. With signs, u is times -1 in the channels whose entry is negative.
template <typename T>
class EdgeConvNodes {
 public:
  EdgeConvNodes(const T* nodes, int64_t channels, const T* signs = nullptr)
      : channels_(channels), nodes_(nodes), signs_(signs) {}
  EdgeConvNodes(const CenteredRows<T>& x, std::vector<T> node_weight, int64_t channels, const T* signs = nullptr)
      : channels_(channels), nodes_(nullptr), signs_(signs), x_(x) {
    for (int64_t o = 0; o < channels && signs != nullptr; ++o) {
      if (!(signs[o] < 0)) continue;
      for (int64_t c = 0; c < x.channels; ++c) node_weight[o * x.channels + c] *= -1;
    }
    weight_.reset(new Panels<T>(node_weight.data(), x.channels, 2 * channels, 1, x.channels));
  }

  void write(int64_t begin, int64_t count, T* to, int64_t stride) const {
    if (nodes_ == nullptr) {
      multiply(x_.part(begin, count), *weight_, to, stride);
      return;
    }
    parallel_for(count, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        std::copy_n(nodes_ + (begin + i) * 2 * channels_, 2 * channels_, to + i * stride);
        for (int64_t c = 0; c < channels_ && signs_ != nullptr; ++c) {
          if (signs_[c] < 0) to[i * stride + c] *= -1;
        }
      }
    });
  }

 private:
  int64_t channels_;
  const T *nodes_, *signs_;
  CenteredRows<T> x_{nullptr, 0, 0, nullptr, nullptr};
  std::unique_ptr<const Panels<T>> weight_;
};

// The features, weight and what centres the features of the operators of rows.
inline void check_edge_conv_weight(const Tensor& x, const Tensor& weight, const Tensor& bn_weight) {
  check_floating(x, "x", 3);
  check_like(weight, "weight", 2, x);
  STD_TORCH_CHECK(weight.size(1) == 2 * x.size(2) && weight.size(0) == bn_weight.size(0),
                  "weight must have two columns for each of x and as many rows as bn_weight entries");
}

}  // namespace pointkernels
