// Asynchronous copies from global to shared memory that a thread has begun and not waited for (see cuda_pipeline.h).
#pragma once

#include <cstddef>
#include <deque>

namespace emulation {

struct AsyncCopy {
  unsigned char* to;
  const unsigned char* from;
  size_t bytes;
  size_t zeros;  // so many of the bytes, the last ones, are set to zero and not read
};

class AsyncCopies {
 public:
  void add(const AsyncCopy& copy) { copies_.push_back(Entry{copy, group_}); }
  void commit() { ++group_; }
  void forget() { *this = AsyncCopies(); }

  // Takes out a copy that belongs to none of the last `pending` groups that were committed; false if there is none.
  bool take(unsigned pending, AsyncCopy& copy) {
    if (copies_.empty() || copies_.front().group + pending >= group_) return false;
    copy = copies_.front().copy;
    copies_.pop_front();
    return true;
  }

 private:
  struct Entry {
    AsyncCopy copy;
    unsigned group;
  };

  std::deque<Entry> copies_;
  unsigned group_ = 0;  // that copies are being added to; all before it are committed
};

}  // namespace emulation
