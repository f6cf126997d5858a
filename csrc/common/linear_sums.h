// How sums over the rows of tall matrices are cut: alike on every device, so that they round alike.
//
// A transposed product left^T right has a chain of fused multiply-adds over each piece of kPieceRows rows; the pieces
// of a unit are added in order, then the units.
#pragma once

#include <cstdint>

#include "macros.h"

namespace pointkernels {

constexpr int64_t kPieceRows = 96;
constexpr int64_t kMaxUnits = 32, kLeastUnitRows = 12 * kPieceRows;

PK_HOST_DEVICE inline int64_t pieces_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// A multiple of kPieceRows.
PK_HOST_DEVICE inline int64_t unit_rows(int64_t rows) {
  const int64_t shared = pieces_of(pieces_of(rows, kMaxUnits), kPieceRows) * kPieceRows;
  return shared > kLeastUnitRows ? shared : kLeastUnitRows;
}

}  // namespace pointkernels
