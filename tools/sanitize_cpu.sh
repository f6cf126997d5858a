#!/usr/bin/env bash
# The CPU operators under AddressSanitizer and UndefinedBehaviorSanitizer: a build of its own, and the tests of the
# operators that reach every path. Any finding ends the script with an error. Arguments are passed on to pytest.
#
# ThreadSanitizer is not run, because it could not tell right from wrong here: the threads are those of torch, whose
# OpenMP run-time is not built for it, so it does not see that a parallel loop starts and ends and reports every result
# as a race. What takes its place: units of work write disjoint rows and share nothing else that is written but an
# atomic flag (csrc/cpu/threads/parallel.h) and the counters by which threads claim them (csrc/cpu/threads/work_queue.h), which
# tests/cpu/test_work_queue.py runs under ThreadSanitizer on threads of its own, as tests/cpu/test_team.py does with the threads
# that wait for each other (csrc/cpu/threads/team.h); and the tests demand equal results of 1, 2, 3 and 5 threads.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
POINTKERNELS_SANITIZE=address,undefined POINTKERNELS_CUDA=0 MAX_JOBS="${MAX_JOBS:-$(nproc)}" \
  python setup.py --quiet build --build-base "$work" --build-lib "$work/lib" >"$work/build.log" 2>&1 ||
  { cat "$work/build.log"; exit 1; }
printf 'built in %ss\n' "$SECONDS"

# The sanitizer's run-time must come first; Python and torch keep memory until they end, which is no leak of ours.
export LD_PRELOAD
LD_PRELOAD=$("${CXX:-g++}" -print-file-name=libasan.so)
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$work/lib"
chosen='(avx512 and (paths_agree_on_larger or any_features or any_cloud or lengths or ragged or packed_clouds)
  or avx512 and (equals_reference and dtype0 or holes_duplicates or list_lengths) or avx2 and (leaves_equal or lengths)) and not emul
  or two_layer and avx512 and holes_duplicates or avx512 and projections_equal_all and (surface or many_chunks or nan)'
if [ "$#" -eq 0 ]; then
  set -- tests/test_knn_paths.py tests/test_knn_projected.py tests/test_ball_query_paths.py tests/test_knn.py \
    tests/test_farthest_point_sampling.py tests/test_edge_conv.py tests/test_edge_conv_two_layer.py \
    -k "${chosen//$'\n'/}"
fi
# -s: a finding ends the process, and what pytest has caught would be lost with it.
pytest -q -x -s -p no:cacheprovider "$@"
printf 'clean after %ss\n' "$SECONDS"
