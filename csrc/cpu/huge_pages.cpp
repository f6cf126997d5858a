#include "huge_pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <numeric>
#include <vector>
#endif

#if defined(__linux__) && defined(MADV_HUGEPAGE)

// Of torch's stable interface since 2.11; null when this runs with an earlier one.
extern "C" __attribute__((weak, visibility("default"))) AOTITorchError torch_from_blob(
    void* data, int64_t dim, const int64_t* sizes, const int64_t* strides, int64_t storage_offset, int32_t dtype,
    int32_t device_type, int32_t device_index, AtenTensorHandle* tensor, int32_t layout, const uint8_t* opaque_metadata,
    int64_t opaque_metadata_size, void (*deleter)(void* data, void* context), void* context);

namespace pointkernels {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kOwnPages = false;  // sanitizers watch the ends of the C library's blocks only
#else
constexpr bool kOwnPages = true;
#endif

// From here on a result has pages of its own.
constexpr int64_t kLeastOwn = int64_t{1} << 19;
// What may be kept for results to come, of all sizes together.
constexpr int64_t kMostKept = 8 * kHugePage;

// A last page that would be empty by more than a quarter is made of small ones: no result takes a third more than it
// needs.
int64_t block_size(int64_t bytes) {
  const int64_t huge = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  static const int64_t small_page = sysconf(_SC_PAGESIZE);
  return huge - bytes <= kHugePage / 4 ? huge : (bytes + small_page - 1) / small_page * small_page;
}

// Memory of the system that begins with a huge page; nullptr if there is none.
void* map_block(int64_t size) {
  const int64_t mapped = size + kHugePage;
  void* const begin = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) return nullptr;
  const int64_t before = (kHugePage - reinterpret_cast<int64_t>(begin) % kHugePage) % kHugePage;
  char* const block = static_cast<char*>(begin) + before;
  if (before > 0) munmap(begin, before);
  munmap(block + size, mapped - before - size);
  (void)madvise(block, size, MADV_HUGEPAGE);
  return block;
}

// Blocks that results have left, for results of the same size. Nobody waits for it: a block is taken from the system,
// or given back, instead, so a process that forks while another thread is here has nothing to fear.
class KeptBlocks {
 public:
  void* take(int64_t size) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
      if (block->size != size) continue;
      void* const data = block->data;
      blocks_.erase(std::next(block).base());
      return data;
    }
    return nullptr;
  }

  int64_t release() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return 0;
    int64_t released = 0;
    for (const Block& block : blocks_) {
      munmap(block.data, block.size);
      released += block.size;
    }
    blocks_.clear();
    return released;
  }

  // False: the block has not been kept.
  bool keep(void* data, int64_t size) {
    if (size > kMostKept / 2) return false;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    const auto add = [](int64_t sum, const Block& block) { return sum + block.size; };
    while (std::accumulate(blocks_.begin(), blocks_.end(), size, add) > kMostKept) {
      munmap(blocks_.front().data, blocks_.front().size);
      blocks_.erase(blocks_.begin());
    }
    blocks_.push_back({data, size});
    return true;
  }

 private:
  struct Block {
    void* data;
    int64_t size;
  };

  std::mutex mutex_;
  std::vector<Block> blocks_;  // those that were left last are at the end
};

// Never destroyed: tensors may outlive everything else.
KeptBlocks& kept_blocks() {
  static KeptBlocks& blocks = *new KeptBlocks;
  return blocks;
}

void leave_block(void* data, void* size_as_pointer) {
  const int64_t size = reinterpret_cast<int64_t>(size_as_pointer);
  if (!kept_blocks().keep(data, size)) munmap(data, size);
}

}  // namespace

void advise_huge_pages(void* data, int64_t bytes) {
  const int64_t first = reinterpret_cast<int64_t>(data);
  const int64_t begin = (first + kHugePage - 1) / kHugePage * kHugePage, end = (first + bytes) / kHugePage * kHugePage;
  if (end > begin) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

Tensor on_huge_pages(Tensor result) {
  const int64_t bytes = result.numel() * result.element_size();
  if (!kOwnPages || bytes < kLeastOwn || torch_from_blob == nullptr) {
    advise_huge_pages(result.mutable_data_ptr(), bytes);
    return result;
  }
  const int64_t size = block_size(bytes);
  void* block = kept_blocks().take(size);
  if (block == nullptr) block = map_block(size);
  if (block == nullptr) return result;
  int32_t dtype, device_type, device_index, layout;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(result.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(result.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(result.get(), &device_index));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_layout(result.get(), &layout));
  AtenTensorHandle moved;
  TORCH_ERROR_CODE_CHECK(torch_from_blob(block, result.dim(), result.sizes().data(), result.strides().data(), 0, dtype,
                                         device_type, device_index, &moved, layout, nullptr, 0, leave_block,
                                         reinterpret_cast<void*>(size)));
  return Tensor(moved);
}

int64_t release_kept_pages() { return kept_blocks().release(); }

}  // namespace pointkernels

#else

namespace pointkernels {

void advise_huge_pages(void*, int64_t) {}

Tensor on_huge_pages(Tensor result) { return result; }

int64_t release_kept_pages() { return 0; }

}  // namespace pointkernels

#endif
