// Ways to search neighbours on the CPU, by number or by radius, all with the same result.
#pragma once

namespace pointkernels {

enum class KnnPath { kAuto, kBrute, kLeaves, kProjected };

// kAuto unless POINTKERNELS_KNN_PATH (brute, leaves, projected) or set_knn_path() says otherwise. kLeaves holds for
// points of up to four coordinates; kProjected is brute force by projections wherever their bounds hold (projection.h).
KnnPath knn_path();
void set_knn_path(KnnPath path);
const char* knn_path_name(KnnPath path);

}  // namespace pointkernels
