// Compares one instruction set with the scalar build: every operation of its vectors lane by lane, and the loops that
// are made of them. Compiled with the macro that names the set (POINTKERNELS_AVX2, ...) and linked with isa_scalar.cpp.
// Prints what differs and returns how much does.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "../../csrc/cpu/builds/isa_table.h"

namespace {

int failures = 0;

template <typename T>
bool same(T a, T b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <typename T>
void expect_same(const char* what, const T* found, const T* expected, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (same(found[i], expected[i])) continue;
    std::printf("%s, %zu bytes: number %d of %d differs\n", what, sizeof(T), int(i), int(count));
    ++failures;
    return;
  }
}

template <typename T>
struct Numbers {
  std::mt19937 generator{1};
  T next(bool strange) {
    static const T unusual[] = {std::numeric_limits<T>::quiet_NaN(),
                                std::numeric_limits<T>::infinity(),
                                -std::numeric_limits<T>::infinity(),
                                T(0),
                                T(-0.0),
                                T(3)};
    if (strange && generator() % 4 == 0) return unusual[generator() % 6];
    return T(int(generator() % 2000) - 1000) / T(16);
  }
};

template <typename T, typename V, typename Make>
void compare_values(const char* name, const T* a, const T* b, const T* c, const Make& make) {
  T found[V::width], expected[V::width];
  make(V::load(a), V::load(b), V::load(c)).store(found);
  for (int64_t i = 0; i < V::width; ++i) {
    make(Lane<T>::load(a + i), Lane<T>::load(b + i), Lane<T>::load(c + i)).store(expected + i);
  }
  expect_same(name, found, expected, V::width);
}

template <typename T, typename V, typename Make>
void compare_masks(const char* name, const T* a, const T* b, const Make& make) {
  const uint32_t found = V::bits(make(V::load(a), V::load(b)));
  uint32_t expected = 0;
  for (int64_t i = 0; i < V::width; ++i) {
    expected |= Lane<T>::bits(make(Lane<T>::load(a + i), Lane<T>::load(b + i))) << i;
  }
  expect_same(name, &found, &expected, 1);
}

template <typename T>
void compare_vectors() {
  using V = Vector<T>;
  constexpr int64_t W = V::width;
  Numbers<T> numbers;
  for (int round = 0; round < 2000; ++round) {
    T a[W], b[W], c[W];
    for (int64_t i = 0; i < W; ++i) {
      a[i] = numbers.next(true);
      b[i] = numbers.generator() % 3 == 0 ? a[i] : numbers.next(true);
      c[i] = numbers.next(true);
    }
    compare_values<T, V>("+", a, b, c, [](auto x, auto y, auto) { return x + y; });
    compare_values<T, V>("-", a, b, c, [](auto x, auto y, auto) { return x - y; });
    compare_values<T, V>("*", a, b, c, [](auto x, auto y, auto) { return x * y; });
    compare_values<T, V>("fma", a, b, c, [](auto x, auto y, auto z) { return decltype(x)::fma(x, y, z); });
    compare_values<T, V>("min", a, b, c, [](auto x, auto y, auto) { return decltype(x)::min_or_second(x, y); });
    compare_values<T, V>("max", a, b, c, [](auto x, auto y, auto) { return decltype(x)::max_or_second(x, y); });
    compare_values<T, V>("select", a, b, c, [](auto x, auto y, auto z) {
      using U = decltype(x);
      return U::select(U::both(U::less(x, y), U::is_number(z)), y, z);
    });
    compare_values<T, V>("add_where", a, b, c, [](auto x, auto y, auto z) {
      using U = decltype(x);
      return U::add_where(U::less_equal(x, y), x * x, z);  // of -0.0 and nothing the sign is open
    });
    compare_values<T, V>("broadcast", a, b, c, [](auto x, auto, auto) { return decltype(x)::broadcast(T(2.5)); });
    compare_masks<T, V>("less", a, b, [](auto x, auto y) { return decltype(x)::less(x, y); });
    compare_masks<T, V>("less_equal", a, b, [](auto x, auto y) { return decltype(x)::less_equal(x, y); });
    compare_masks<T, V>("equal", a, b, [](auto x, auto y) { return decltype(x)::equal(x, y); });
    compare_masks<T, V>("above", a, b, [](auto x, auto y) { return decltype(x)::above(x, y); });
    compare_masks<T, V>("is_number", a, b, [](auto x, auto) { return decltype(x)::is_number(x); });

    uint8_t bytes[W];
    int32_t integers[W], moved[W], found_integers[W], expected_integers[W];
    T finite[W], packed[W], expected_packed[W];
    uint32_t of_bytes = 0, of_integers = 0;
    int64_t kept = 0;
    const uint32_t chosen = V::bits(V::less(V::load(a), V::load(b)));
    for (int64_t i = 0; i < W; ++i) {
      bytes[i] = uint8_t(numbers.generator() % 3 + 253);
      integers[i] = int32_t(numbers.generator() % 3) - 1;
      of_bytes |= uint32_t{bytes[i] == 254} << i;
      of_integers |= uint32_t{integers[i] == -1} << i;
      finite[i] = numbers.next(false);
      expected_integers[i] = int32_t(finite[i]);
    }
    const uint32_t found_bytes = V::bits(V::matches(bytes, 254)), found_of = V::bits(V::matches(integers, -1));
    expect_same("matches bytes", &found_bytes, &of_bytes, 1);
    expect_same("matches integers", &found_of, &of_integers, 1);
    V::load(finite).store_integers(found_integers);
    expect_same("store_integers", found_integers, expected_integers, W);
    uint8_t found_low[W], expected_low[W];
    double found_sums[W], expected_sums[W];
    for (int64_t i = 0; i < W; ++i) {
      expected_low[i] = uint8_t(expected_integers[i]);
      found_sums[i] = numbers.next(true);
      expected_sums[i] = found_sums[i] + c[i];
    }
    V::load(finite).store_bytes(found_low);
    V::load(c).add_to(found_sums);
    expect_same("store_bytes", found_low, expected_low, W);
    expect_same("add_to", found_sums, expected_sums, W);
    T largest = finite[0];
    for (int64_t i = 1; i < W; ++i) largest = finite[i] > largest ? finite[i] : largest;
    const T found_largest = V::largest(V::load(finite));
    expect_same("largest", &found_largest, &largest, 1);
    const int64_t count = V::compress(V::less(V::load(a), V::load(b)), V::load(c), packed);
    V::compress_integers(V::less(V::load(a), V::load(b)), integers, moved);
    for (int64_t i = 0; i < W; ++i) {
      if ((chosen >> i & 1) == 0) continue;
      expected_packed[kept] = c[i];
      expected_integers[kept++] = integers[i];
    }
    expect_same("compress counts", &count, &kept, 1);
    expect_same("compress", packed, expected_packed, kept);
    expect_same("compress_integers", moved, expected_integers, kept);
  }
}

template <typename T>
void compare_loops(const pointkernels::IsaKernels<T>& scalar) {
  const pointkernels::IsaKernels<T> own = isa_table<T>();
  constexpr int64_t kCount = 333, kBlocks = (kCount + kBlock - 1) / kBlock, kSlots = kBlocks * kBlock;
  Numbers<T> numbers;
  std::vector<int32_t> ids(kSlots);
  for (int64_t i = 0; i < kSlots; ++i) ids[i] = int32_t(i);
  for (const int64_t dims : {1, 2, 3, 4, 7, 19}) {
    const int64_t groups = kLeaf;
    std::vector<T> rows(kCount * dims), queries(dims * kPointTile);
    for (T& x : rows) x = std::round(numbers.next(false));
    for (T& x : queries) x = numbers.next(false);
    std::vector<T> blocks[2], distances[2], minima[2], bounds[2], admitted[2], within[2], chosen[2];
    std::vector<int32_t> admitted_ids[2];
    std::vector<int64_t> indices[2];
    int64_t found[2], first[2];
    for (const int i : {0, 1}) {
      const pointkernels::IsaKernels<T>& isa = i == 0 ? own : scalar;
      const pointkernels::SearchKernels<T>& search = *isa.search;
      blocks[i].resize(kSlots * dims);
      search.pack(rows.data(), kCount, dims, blocks[i].data());
      const Candidates<T> candidates{blocks[i].data(), kBlock * dims, kBlock, dims, ids.data(), nullptr, kBlocks, 0};
      const int64_t tile = dims <= pointkernels::kPointDims ? kPointTile : search.feature_tile;
      std::vector<T> tiled(dims * tile);  // the same kPointTile queries again and again
      for (int64_t j = 0; j < dims * tile; ++j) tiled[j] = queries[j / tile * kPointTile + j % tile % kPointTile];
      distances[i].resize(tile * kSlots);
      minima[i].resize(tile * groups);
      search.distances(tiled.data(), tile, candidates, distances[i].data(), kSlots, minima[i].data(), groups);
      bounds[i].assign(kPointTile, T(0));
      search.thresholds(distances[i].data(), kSlots, kSlots, 20, bounds[i].data());
      admitted[i].resize(kSlots + kBlock);
      admitted_ids[i].resize(kSlots + kBlock);
      found[i] =
          search.admit(distances[i].data(), candidates, bounds[i][0], admitted[i].data(), admitted_ids[i].data(), 0);
      const T query[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
      chosen[i].resize(kSlots);
      for (const int64_t count : {1, 5, 20, 33, 100}) {
        isa.projection->distances_to(rows.data(), dims, query, ids.data() + 7, count, chosen[i].data() + 2 * count);
      }
      within[i].resize(50);
      indices[i].resize(50);
      first[i] = search.first_within(query, blocks[i].data(), kBlocks, dims, T(500 * dims), 17, 50, within[i].data(),
                                     indices[i].data());
    }
    expect_same("pack", blocks[0].data(), blocks[1].data(), kSlots * dims);
    expect_same("distances", distances[0].data(), distances[1].data(), kPointTile * kSlots);
    expect_same("minima", minima[0].data(), minima[1].data(), kPointTile * groups);
    expect_same("thresholds", bounds[0].data(), bounds[1].data(), kPointTile);
    expect_same("admit", &found[0], &found[1], 1);
    expect_same("admitted", admitted[0].data(), admitted[1].data(), found[1]);
    expect_same("admitted ids", admitted_ids[0].data(), admitted_ids[1].data(), found[1]);
    expect_same("distances to", chosen[0].data() + 2, chosen[1].data() + 2, 1);
    for (const int64_t count : {5, 20, 33, 100}) {
      expect_same("distances to some", chosen[0].data() + 2 * count, chosen[1].data() + 2 * count,
                  std::min(count, int64_t{20}));
    }
    expect_same("first_within", &first[0], &first[1], 1);
    expect_same("distances within", within[0].data(), within[1].data(), first[1]);
    expect_same("indices within", indices[0].data(), indices[1].data(), first[1]);
  }
  for (const int64_t count : {1, 2, 3, 20, 63, 100}) {
    std::vector<T> values(count + kBlock), sorted[2];
    std::vector<int64_t> order[2];
    std::vector<int32_t> moved[2], scratch_ids(kSlots);
    std::vector<T> columns[2];
    T low[2], high[2];
    int64_t below[2], parted[2];
    for (T& x : values) x = std::fabs(std::round(numbers.next(false)));
    for (const int i : {0, 1}) {
      const pointkernels::IsaKernels<T>& isa = i == 0 ? own : scalar;
      const pointkernels::SearchKernels<T>& search = *isa.search;
      sorted[i].resize(count);
      order[i].resize(count);
      std::vector<int32_t> places(count + kBlock);
      search.rank(values.data(), ids.data(), count, places.data(), sorted[i].data(), order[i].data());
      search.extent(values.data(), count, &low[i], &high[i]);
      below[i] = search.count_below(values.data(), count, T(30), i == 0) +
                 search.count_below(values.data(), count, T(30), i != 0);
      columns[i].assign(3 * kSlots, T(0));
      std::vector<T> scratch(3 * kSlots);
      moved[i] = ids;
      T* const own_columns[] = {columns[i].data(), columns[i].data() + kSlots, columns[i].data() + 2 * kSlots};
      T* const others[] = {scratch.data(), scratch.data() + kSlots, scratch.data() + 2 * kSlots};
      for (int64_t d = 0; d < 3; ++d) std::memcpy(own_columns[d], values.data(), count * sizeof(T));
      parted[i] = search.partition(own_columns, moved[i].data(), 3, count, 1, T(30), true, others, scratch_ids.data());
    }
    expect_same("rank", sorted[0].data(), sorted[1].data(), count);
    expect_same("order", order[0].data(), order[1].data(), count);
    expect_same("lowest", &low[0], &low[1], 1);
    expect_same("highest", &high[0], &high[1], 1);
    expect_same("count_below", &below[0], &below[1], 1);
    expect_same("partition", &parted[0], &parted[1], 1);
    expect_same("partitioned", columns[0].data(), columns[1].data(), count);
    expect_same("partitioned ids", moved[0].data(), moved[1].data(), count);
  }
}

}  // namespace

int main() {
  compare_vectors<float>();
  compare_vectors<double>();
  compare_loops<float>(pointkernels::kScalarFloat);
  compare_loops<double>(pointkernels::kScalarDouble);
  return failures;
}
