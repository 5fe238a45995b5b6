// What the XLA FFI targets share: threads and errors.
#ifndef ORCHESTAI_KERNELS_CPU_TARGETS_H_
#define ORCHESTAI_KERNELS_CPU_TARGETS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "kernels.h"
#include "library.h"
#include "xla/ffi/api/ffi.h"

namespace orchestai {

namespace ffi = xla::ffi;

using Floats = ffi::Buffer<ffi::F32>;
using Indices = ffi::Buffer<ffi::S32>;

inline ffi::Error wrong(const std::string& what) { return ffi::Error::InvalidArgument("orchestai_kernels: " + what); }

inline ffi::Error lacks(std::string_view instructions) {
  return wrong("this processor lacks " + std::string(instructions));
}

// Units of a piece of work: about 128 KB of weights to read for one token, fewer where more tokens make more of it.
inline int64_t piece_of(int64_t bytes_a_unit, int64_t multiple, int64_t tokens) {
  const int64_t units = bytes_a_unit > 0 ? (128 << 10) / (1 + tokens / 8) / bytes_a_unit : 1;
  return (units < multiple ? multiple : units / multiple * multiple);
}

// Runs work(begin, end) over [0, count) in pieces of `piece`, on this thread and on those of the pool that come in time.
// Never waits for a thread that has not begun: a full pool costs nothing but the help.
template <typename Work>
void parallel(ffi::ThreadPool& pool, int64_t count, int64_t piece, const Work& work) {
  const int64_t pieces = (count + piece - 1) / piece;
  const int64_t threads = pieces > 1 ? pool.num_threads() : 1;
  if (threads <= 1) {
    if (count > 0) work(0, count);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto state = std::make_shared<State>();
  // A helper that comes late finds no piece left and does not touch `work`, which is gone by then.
  const auto help = [state, pieces, piece, count, &work] {
    for (int64_t i; (i = state->next.fetch_add(1)) < pieces;) {
      const int64_t end = (i + 1) * piece;
      work(i * piece, end < count ? end : count);
      if (state->done.fetch_add(1) + 1 == pieces) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->all_done.notify_all();
      }
    }
  };
  for (int64_t i = 1; i < threads && i < pieces; ++i) pool.Schedule([help] { help(); });
  help();
  // The last piece is a few microseconds away: sleeping and waking would take longer.
  for (int spin = 0; spin < 2000; ++spin) {
    if (state->done.load(std::memory_order_acquire) == pieces) return;
  }
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done.load() == pieces; });
}

}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_TARGETS_H_
