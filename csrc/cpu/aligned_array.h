// Numbers that begin at a cache line, so that a vector of a whole line lies in one; not set to anything.
#pragma once

#include <cstdint>
#include <new>

namespace pointkernels {

template <typename T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t count) : data_(static_cast<T*>(::operator new(count * sizeof(T), kLine))) {}
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;
  ~AlignedArray() { ::operator delete(data_, kLine); }

  T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kLine{64};
  T* data_;
};

}  // namespace pointkernels
