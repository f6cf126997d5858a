// What the forward and the backward pass of EdgeConv with two layers share: checks, and padded copies.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "../simd/isa.h"
#include "../threads/parallel.h"
#include "two_layer.h"

namespace pointkernels {

// Units of parallel work that have sums of their own. Sums are taken per unit and then over units in order, so that
// they do not depend on the number of threads.
inline constexpr int64_t kTwoLayerUnits = 32;

inline int64_t padded_channels(int64_t channels) { return (channels + kTwoLayerPad - 1) / kTwoLayerPad * kTwoLayerPad; }

struct TwoLayerShape {
  int64_t rows, k, cloud_size, hidden, outputs;

  int64_t padded_hidden() const { return padded_channels(hidden); }
  int64_t padded_outputs() const { return padded_channels(outputs); }

  // Rows of a unit: some hundred edges, and more for large clouds, so that a chunk of kTwoLayerUnits units, whose
  // edges' gradients are held at a time, is no smaller than a few of the clouds' rows have edges.
  int64_t unit_rows() const {
    const int64_t edges = std::max<int64_t>(512, cloud_size / 64);
    return std::max<int64_t>(1, edges / std::max<int64_t>(k, 1));
  }
  int64_t units() const { return (rows + unit_rows() - 1) / unit_rows(); }
};

// Number of edges; every neighbour is checked before any is followed.
inline int64_t checked_edges(const Tensor& neighbors, int64_t cloud_size) {
  const int64_t* neighbor = neighbors.const_data_ptr<int64_t>();
  std::atomic<int64_t> edges{0};
  std::atomic<bool> in_range{true};
  constexpr int64_t kPiece = 4096;
  const int64_t entries = neighbors.numel();
  parallel_for((entries + kPiece - 1) / kPiece, [&](int64_t first, int64_t last) {
    int64_t valid = 0, bad = 0;
    for (int64_t e = first * kPiece; e < std::min(last * kPiece, entries); ++e) {
      valid += neighbor[e] >= 0;
      bad += neighbor[e] < -1 || neighbor[e] >= cloud_size;
    }
    edges += valid;
    if (bad != 0) in_range.store(false, std::memory_order_relaxed);
  });
  STD_TORCH_CHECK(in_range.load(), "neighbors must be -1 or lie in [0, ", cloud_size, ")");
  return edges.load();
}

inline void check_vector(const Tensor& vector, const char* name, int64_t size, const Tensor& like) {
  check_like(vector, name, 1, like);
  STD_TORCH_CHECK(vector.size(0) == size, name, " must have ", size, " entries, got ", vector.size(0));
}

inline void check_matrix(const Tensor& matrix, const char* name, int64_t rows, int64_t columns, const Tensor& like) {
  check_like(matrix, name, 2, like);
  STD_TORCH_CHECK(matrix.size(0) == rows && matrix.size(1) == columns, name, " must have shape (", rows, ", ", columns,
                  ")");
}

inline TwoLayerShape two_layer_shape(const Tensor& nodes, const Tensor& neighbors, int64_t cloud_size,
                                     const Tensor& weight) {
  check_floating(nodes, "nodes", 2);
  check_integers(neighbors, "neighbors", 2);
  check_like(weight, "weight", 2, nodes);
  const TwoLayerShape shape{nodes.size(0), neighbors.size(1), cloud_size, weight.size(1), weight.size(0)};
  STD_TORCH_CHECK(nodes.size(1) == 2 * shape.hidden, "nodes must have twice as many columns as weight");
  STD_TORCH_CHECK(neighbors.size(0) == shape.rows, "neighbors must have as many rows as nodes");
  STD_TORCH_CHECK(shape.rows == 0 || (cloud_size > 0 && shape.rows % cloud_size == 0), shape.rows,
                  " rows cannot be split into clouds of ", cloud_size);
  STD_TORCH_CHECK(shape.k < int64_t{1} << 24, "k must be below 2^24, got ", shape.k);
  return shape;
}

// Rows of `columns` numbers with zeros behind each, so that it has `padded`; without a copy where they are as many.
template <typename T>
class PaddedRows {
 public:
  PaddedRows(const T* values, int64_t rows, int64_t columns, int64_t padded) : data_(values) {
    if (columns == padded) return;
    copy_.assign(rows * padded, T{0});
    for (int64_t r = 0; r < rows; ++r) std::copy_n(values + r * columns, columns, copy_.data() + r * padded);
    data_ = copy_.data();
  }
  const T* data() const { return data_; }

 private:
  std::vector<T> copy_;
  const T* data_;
};

// The first layer's BatchNorm as the loops want it.
template <typename T>
struct FirstLayer {
  std::vector<T> mean, scale, bias, center, deviation;  // deviation: 1 / standard deviation

  FirstLayer(const TwoLayerShape& shape, const T* means, const T* vars, const T* weights, const T* biases,
             const T* centers, double eps)
      : mean(shape.padded_hidden(), T{0}), scale(mean), bias(mean), center(mean), deviation(mean) {
    for (int64_t c = 0; c < shape.hidden; ++c) {
      mean[c] = means[c];
      deviation[c] = 1 / std::sqrt(vars[c] + static_cast<T>(eps));
      scale[c] = weights[c] * deviation[c];
      bias[c] = biases[c];
      center[c] = centers[c];
    }
  }

  TwoLayerEdges<T> edges(const TwoLayerShape& shape, const T* nodes, const int64_t* neighbors,
                         double negative_slope) const {
    return TwoLayerEdges<T>{
        nodes,       neighbors,    shape.k,     shape.cloud_size, shape.padded_hidden(),         shape.padded_outputs(),
        mean.data(), scale.data(), bias.data(), center.data(),    static_cast<T>(negative_slope)};
  }
};

// Work space of one thread.
template <typename T>
class TileSpace {
 public:
  TileSpace(const TwoLayerShape& shape, bool backward) {
    const int64_t edges = two_layer_tile(shape.k), hidden = shape.padded_hidden();
    const int64_t columns = backward ? 2 * hidden : shape.padded_outputs();
    // Not zeroed: the loops write what they read.
    numbers_.reset(new T[edges * (hidden + columns)]);
    if (backward) edges_.reset(new int32_t[std::max<int64_t>(shape.k, 1)]);
    tile_.activations = numbers_.get();
    tile_.products = tile_.activations + edges * hidden;
    tile_.deviations = backward ? tile_.products + edges * hidden : nullptr;
    tile_.edges = edges_.get();
  }
  const TwoLayerTile<T>& tile() const { return tile_; }

 private:
  std::unique_ptr<T[]> numbers_;
  std::unique_ptr<int32_t[]> edges_;
  TwoLayerTile<T> tile_;
};

}  // namespace pointkernels
