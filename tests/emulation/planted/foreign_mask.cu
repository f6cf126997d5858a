// Lanes vote with a mask that does not name them.
#include "plant.h"

namespace {

template <bool kFixed>
__global__ void vote_kernel(unsigned* votes) {
  const unsigned half = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  votes[threadIdx.x] = __ballot_sync(kFixed ? half : 0x0000ffffu, threadIdx.x % 2);
}

}  // namespace

PLANTED(foreign_mask) {
  std::vector<unsigned> votes(32);
  const auto kernel = fixed ? vote_kernel<true> : vote_kernel<false>;
  const cudaError_t error = pointkernels::cuda::launch(kernel, 1, dim3(32), 0, nullptr, votes.data());
  return outcome(error, votes[0] == 0x0000aaaau && votes[31] == 0xaaaa0000u);
}
