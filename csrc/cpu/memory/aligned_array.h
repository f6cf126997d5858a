// Numbers that begin at a cache line, so that a vector of a whole line lies in one; not set to anything.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

namespace pointkernels {

template <typename T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(int64_t count) : data_(static_cast<T*>(::operator new(count * sizeof(T), kLine))) {}
  AlignedArray(AlignedArray&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  AlignedArray& operator=(AlignedArray&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;
  ~AlignedArray() { ::operator delete(data_, kLine); }

  T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kLine{64};
  T* data_ = nullptr;
};

}  // namespace pointkernels
