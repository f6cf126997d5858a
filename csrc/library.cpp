// The table of contents: every operator of the library, with its shape contract.
//
// Shape letters: R rows of a batch of clouds (see common/clouds.h), B clouds, D coordinates, Q query rows, K
// neighbours, M samples, O channels. Floating tensors are float32 or float64, contiguous unless said otherwise;
// integers are int64. `extents` is (B, 2): first row and number of rows of each cloud; None splits the rows evenly over
// `clouds`. Each operator has a file of its name in cpu/ and cuda/, and a face of its name in the Python package.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(pointkernels, library) {
  // The k nearest rows of the same cloud for each query row, nearest first; query None: the points themselves.
  //   points (R, D), query (Q, D) -> squared distances (Q, K), inf where the cloud has fewer than K candidates;
  //   indices (Q, K) counted within the cloud, -1 there. Distances are (0, K) unless they are wanted.
  library.def(
      "knn(Tensor points, Tensor? extents, Tensor? query, Tensor? query_extents, SymInt clouds, SymInt k, bool "
      "include_self,"
      " bool with_distances=True) -> (Tensor distances, Tensor indices)");

  // The first k rows of the same cloud, in index order, whose squared distance to the query row is below
  // squared_radius; query None: the points themselves. Without include_self, row i of a cloud's queries is no neighbour
  // of row i of its points.
  //   points (R, D), query (Q, D) -> squared distances (Q, K), inf past the neighbours found; indices (Q, K) counted
  //   within the cloud, ascending, -1 there.
  library.def(
      "ball_query(Tensor points, Tensor? extents, Tensor? query, Tensor? query_extents, SymInt clouds,"
      " float squared_radius, SymInt k, bool include_self) -> (Tensor distances, Tensor indices)");

  // Gradient of the squared distances. Neighbour s of query row i is row (i / query_size) * cloud_size + neighbors[i,
  // s].
  //   grad (Q, K), points (R, D), query (Q, D), neighbors (Q, K); offsets, edges: their reverse graph
  //   -> grad_points (R, D), grad_query (Q, D)
  library.def(
      "_knn_backward(Tensor grad, Tensor points, Tensor query, Tensor neighbors, SymInt query_size, SymInt cloud_size,"
      " Tensor offsets, Tensor edges) -> (Tensor grad_points, Tensor grad_query)");

  // For every row, the edges that point at it, in ascending order: a stable counting sort of the neighbour lists.
  //   neighbors (Q, K), entries -1 ignored -> offsets (rows + 1), edges (Q * K); the edges at row j are
  //   edges[offsets[j]:offsets[j + 1]], each the flat position i * K + s in neighbors. Entries of `edges` past
  //   offsets[rows] are unspecified.
  library.def(
      "_reverse_graph(Tensor neighbors, SymInt query_size, SymInt cloud_size, SymInt rows) -> (Tensor offsets, Tensor "
      "edges)");

  // The features of the neighbours. Neighbour s of query row i is row (i / query_size) * cloud_size + neighbors[i, s].
  //   features (R, C), neighbors (Q, K), entries -1 give zeros -> (Q, K, C)
  library.def("gather_neighbors(Tensor features, Tensor neighbors, SymInt query_size, SymInt cloud_size) -> Tensor");

  // Their weighted sum.
  //   features (R, C), neighbors (Q, K), weights (Q, K) -> (Q, C)
  library.def(
      "gather_weighted(Tensor features, Tensor neighbors, Tensor weights, SymInt query_size, SymInt cloud_size) -> "
      "Tensor");

  // For each row, the sum over the edges e that point at it of weights[e] grad[e / edges_per_row], in the order of the
  // edges: the gradient of both of the above in their features.
  //   grad (G, C), weights as many as edges, or None for ones; offsets (R + 1), edges: a reverse graph -> (R, C)
  library.def(
      "_sum_over_edges(Tensor grad, Tensor? weights, Tensor offsets, Tensor edges, SymInt edges_per_row) -> Tensor");

  // For each edge, the product of the two rows that it joins: the gradient of gather_weighted in its weights.
  //   grad (Q, C), features (R, C), neighbors (Q, K) -> (Q, K), 0 for entries -1
  library.def(
      "_edge_products(Tensor grad, Tensor features, Tensor neighbors, SymInt query_size, SymInt cloud_size) -> Tensor");

  // Greedy farthest point sampling.
  //   points (R, D), start (B) counted within the cloud -> (B, M) counted within the cloud, -1 past a cloud's size
  library.def(
      "farthest_point_sampling(Tensor points, Tensor? extents, Tensor start, SymInt clouds, SymInt num_samples) -> "
      "Tensor");

  // Which rows have a neighbour or are one.
  //   neighbors (R, K), entries -1 ignored -> (R) bool
  library.def("_used_rows(Tensor neighbors, SymInt cloud_size) -> Tensor");

  // One linear map for all rows, in the precision of its type.
  //   x (R, C), weight (O, C) -> x weight^T (R, O)
  library.def("_linear(Tensor x, Tensor weight) -> Tensor");

  // Its gradient, as far as it is asked for; what is not is empty.
  library.def(
      "_linear_backward(Tensor grad, Tensor x, Tensor weight, bool for_x, bool for_weight)"
      " -> (Tensor grad_x, Tensor grad_weight)");

  // The rows of x (R, C) that are used (R) less their mean, zeros for the others, and the mean (C), 0 where it is not
  // finite. On a CPU only.
  library.def("_center_rows(Tensor x, Tensor used) -> (Tensor centered, Tensor mean)");

  // EdgeConv on node products. With nodes = [u | v], edge (i, s) towards row j has the pre-activation u_j + v_i; then
  // BatchNorm (statistics over all edges, or the given ones), LeakyReLU and the maximum over the edges of each row.
  //   nodes (R, 2 O), neighbors (R, K) with -1 ignored, bn_weight, bn_bias, mean, var (O)
  //   -> output (R, O), mean (O), var (O, biased), count () edges as float64, extremum (R, O) the winning
  //   pre-activation,
  //      slot (R, O) the winner's place in the list (uint8 for K <= 255, else int32; all ones in a row without
  //      neighbours, whose output is 0), gathered (R, O) sum of u over the edges (empty when mean is given)
  library.def(
      "edge_conv(Tensor nodes, Tensor neighbors, SymInt cloud_size, Tensor bn_weight, Tensor bn_bias, Tensor? mean,"
      " Tensor? var, float eps, float negative_slope) -> (Tensor output, Tensor mean, Tensor var, Tensor count,"
      " Tensor extremum, Tensor slot, Tensor gathered)");

  // Gradient of edge_conv's output. `gathered` None: the statistics were given and are constants.
  //   -> grad_nodes (R, 2 O), grad_bn_weight (O), grad_bn_bias (O)
  library.def(
      "_edge_conv_backward(Tensor grad, Tensor nodes, Tensor neighbors, SymInt cloud_size, Tensor offsets, Tensor "
      "edges,"
      " Tensor bn_weight, Tensor bn_bias, Tensor mean, Tensor var, Tensor count, Tensor extremum, Tensor slot,"
      " Tensor? gathered, float eps, float negative_slope)"
      " -> (Tensor grad_nodes, Tensor grad_bn_weight, Tensor grad_bn_bias)");

  // EdgeConv with two layers on each edge. With nodes = [u | v], edge (i, s) towards row j has the pre-activation u_j +
  // v_i; then BatchNorm (statistics over all edges, or the given ones) and LeakyReLU, less `center`; then the matrix
  // `weight`, BatchNorm and LeakyReLU alike, and the maximum over the edges of each row. `center` is a constant that
  // BatchNorm cancels; what the activations scatter about makes the best one.
  //   nodes (R, 2 H), neighbors (R, K) with -1 ignored, bn_weight, bn_bias, mean, var, center (H), weight (O, H),
  //   bn_weight2, bn_bias2, mean2, var2 (O)
  //   -> output (R, O), mean (H), var (H, biased), mean2 (O), var2 (O, biased), count () edges as float64,
  //      deviation (R, O) of the winning second pre-activation from mean2, slot (R, O) int32: the winner's place in the
  //      list; -1 in a row without neighbours, whose output is 0
  library.def(
      "edge_conv_two_layer(Tensor nodes, Tensor neighbors, SymInt cloud_size, Tensor bn_weight, Tensor bn_bias,"
      " Tensor? mean, Tensor? var, float eps, float negative_slope, Tensor weight, Tensor center, Tensor bn_weight2,"
      " Tensor bn_bias2, Tensor? mean2, Tensor? var2, float eps2, float negative_slope2)"
      " -> (Tensor output, Tensor mean, Tensor var, Tensor mean2, Tensor var2, Tensor count, Tensor deviation,"
      " Tensor slot)");

  // Gradient of edge_conv_two_layer's output. `constant` and `constant2`: whether the statistics of a layer were given.
  //   -> grad_nodes (R, 2 H), grad_bn_weight (H), grad_bn_bias (H), grad_weight (O, H), grad_bn_weight2 (O),
  //      grad_bn_bias2 (O)
  library.def(
      "_edge_conv_two_layer_backward(Tensor grad, Tensor nodes, Tensor neighbors, SymInt cloud_size, Tensor offsets,"
      " Tensor edges, Tensor bn_weight, Tensor bn_bias, Tensor mean, Tensor var, float eps, float negative_slope,"
      " Tensor weight, Tensor center, Tensor bn_weight2, Tensor bn_bias2, Tensor mean2, Tensor var2, float eps2,"
      " float negative_slope2, Tensor count, Tensor deviation, Tensor slot, bool constant, bool constant2)"
      " -> (Tensor grad_nodes, Tensor grad_bn_weight, Tensor grad_bn_bias, Tensor grad_weight, Tensor grad_bn_weight2,"
      " Tensor grad_bn_bias2)");

  // Both with the node products in them, cloud by cloud, so that neither the products nor their gradients are ever in
  // memory as a whole. Only rows with an edge count, and they are centred: less their mean `shift`, 0 where it is not
  // finite, which takes `moved` off all pre-activations. The mean that is returned is that of what is left. On a CPU
  // only.
  //   x (B, N, C), weight (O, 2 C) of [x_j - x_i, x_i], neighbors (B, N, K), else as above
  //   -> as above but for gathered, with (B, N) instead of R rows, and shift (C), moved (O), used (B * N) bool
  library.def(
      "_edge_conv_of_clouds(Tensor x, Tensor weight, Tensor neighbors, Tensor bn_weight, Tensor bn_bias,"
      " Tensor? mean, Tensor? var, float eps, float negative_slope) -> (Tensor output, Tensor mean, Tensor var,"
      " Tensor count, Tensor extremum, Tensor slot, Tensor shift, Tensor moved, Tensor used)");
  // `constant`: whether the statistics were given.
  //   -> grad_x (B, N, C), empty unless for_x, grad_weight (O, 2 C), grad_bn_weight (O), grad_bn_bias (O)
  library.def(
      "_edge_conv_of_clouds_backward(Tensor grad, Tensor x, Tensor weight, bool for_x, Tensor neighbors,"
      " Tensor bn_weight, Tensor bn_bias, Tensor mean, Tensor var, Tensor count, Tensor extremum, Tensor slot,"
      " Tensor shift, Tensor used, bool constant, float eps, float negative_slope)"
      " -> (Tensor grad_x, Tensor grad_weight, Tensor grad_bn_weight, Tensor grad_bn_bias)");

  // Moves BatchNorm's running statistics by the factor `momentum` towards those of a batch of `count` edges, whose mean
  // is mean + moved; not at all where count is 0. On a CPU only.
  //   running_mean, running_var, mean, moved, var (O), count () float64
  library.def(
      "_update_running_statistics(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor mean, Tensor moved, Tensor "
      "var,"
      " Tensor count, float momentum) -> ()");
}
