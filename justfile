# `just build`, `just test`, ... : the verbs of this repository.

# Install in place with all tools, building against the torch that is installed.
build:
    pip install --no-build-isolation -e '.[dev]'

# What the benchmarks compare with.
peers:
    pip install fpsample pykdtree scipy

# Rebuild the compiled part only.
rebuild:
    python setup.py build_ext --inplace

test *arguments:
    pytest -n auto {{arguments}}

# The operator tests on the GPU.
test-gpu:
    pytest tests -m "cuda and not slow"

# The CUDA kernels on this CPU: every schedule, the race detector, the sanitizers; needs Linux and g++.
test-emulation:
    pytest tests -m "emulation or not emulation" -k emulat

# What takes too long for every change: the faces under torch.compile with inductor.
test-slow:
    pytest tests -m slow

lint:
    ruff check .
    ruff format --check .
    mypy
    git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format --dry-run --Werror

format:
    ruff check --fix .
    ruff format .
    git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

# Compile every CUDA source for every supported architecture and hold each kernel to its budget and rules; needs nvcc,
# but no GPU. `just compile-cuda --write-budget` takes what the kernels need now as their budget.
compile-cuda *arguments:
    python tools/compile_cuda.py {{arguments}}

# Build, test, measure and time on the GPU of this machine; then `just gpu-report --second` for compute-sanitizer and
# what else takes long. `just gpu-report --dry-run` needs no GPU.
gpu-report *arguments:
    python benchmarks/gpu_report.py {{arguments}}

# Fetch what `just gpu-report` needs beside Python 3.12 and torch, for a machine that has no network.
gpu-wheels folder="wheels":
    pip download --only-binary=:all: --no-deps --python-version 3.12 --platform manylinux2014_x86_64 -d {{folder}} \
        pytest pluggy iniconfig packaging pygments pytest-timeout pytest-xdist execnet hypothesis sortedcontainers \
        rich markdown-it-py mdurl pybind11 ninja "setuptools<82" wheel

# Count launches, sectors and wavefronts of the emulated CUDA kernels, and hold them to their ceilings; needs no GPU.
count-cuda *arguments:
    python tools/cuda_counters.py {{arguments}}

# Predict how long the CUDA kernels take from their machine code, and hold it to ceilings; needs nvcc, but no GPU.
predict *arguments:
    python tools/predict.py {{arguments}}

bench:
    python benchmarks/knn_bench.py
    python benchmarks/fps_bench.py
    python benchmarks/edgeconv_bench.py
    python benchmarks/ball_query_bench.py
    python benchmarks/neighborhood_bench.py

ci:
    .ci/run
