// Work space of a thread that is kept from call to call, in large pages where the system has them.
//
// Systems hand out memory page by page at the first touch, 1 to 2 microseconds for 4 KiB, and C libraries hand back
// what a large call has freed; for a call of some milliseconds that is a good part of its time. Large pages also keep
// the rows that edges lead to within reach of the processor's list of pages.
#pragma once

#include <cstdint>
#include <new>

#include "huge_pages.h"

namespace pointkernels {

// Not initialised, from the start of a cache line on. Of what is alive at a time in a thread, the first keeps its
// memory, unless it is larger than kKept.
template <typename T>
class WorkSpace {
 public:
  explicit WorkSpace(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    Kept& kept = of_thread();
    if (bytes > kKept || kept.taken) {
      own_ = ::operator new(bytes, kLine);
      advise_huge_pages(own_, bytes);
    } else {
      kept.reserve(bytes);
      kept.taken = true;
    }
    data_ = static_cast<T*>(own_ != nullptr ? own_ : kept.data);
  }
  ~WorkSpace() {
    if (own_ != nullptr) {
      ::operator delete(own_, kLine);
    } else {
      of_thread().taken = false;
    }
  }
  WorkSpace(const WorkSpace&) = delete;
  WorkSpace& operator=(const WorkSpace&) = delete;

  T* get() const { return data_; }

 private:
  static constexpr int64_t kPage = kHugePage, kKept = 2 * kPage;
  static constexpr std::align_val_t kLine{64}, kAligned{kPage};

  struct Kept {
    void* data = nullptr;
    int64_t size = 0;
    bool taken = false;

    void reserve(int64_t bytes) {
      if (bytes <= size) return;
      release();
      const int64_t rounded = (bytes + kPage - 1) / kPage * kPage;
      data = ::operator new(rounded, kAligned);
      advise_huge_pages(data, rounded);
      size = rounded;
    }
    void release() {
      if (data != nullptr) ::operator delete(data, kAligned);
      data = nullptr;
      size = 0;
    }
    ~Kept() { release(); }
  };

  static Kept& of_thread() {
    static thread_local Kept kept;
    return kept;
  }

  void* own_ = nullptr;
  T* data_;
};

}  // namespace pointkernels
