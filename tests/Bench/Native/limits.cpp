// How fast memory can move: loops that do nothing but load and store the bytes that a normalizer must, with the widest vectors that the
// compiler was given. They bound our kernels from below, so they are written for this machine and checked by nobody else.
#include <immintrin.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace {

#if defined(__AVX512F__)
struct Vector {
    using Register = __m512;
    static constexpr size_t lanes = 16;
    static Register load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Register v) { _mm512_store_ps(p, v); }
    static void stream(float* p, Register v) { _mm512_stream_ps(p, v); }
    static Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
    static Register merge(Register a, Register b) {
        return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(a), _mm512_castps_si512(b)));
    }
};
#elif defined(__AVX__)
struct Vector {
    using Register = __m256;
    static constexpr size_t lanes = 8;
    static Register load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, Register v) { _mm256_store_ps(p, v); }
    static void stream(float* p, Register v) { _mm256_stream_ps(p, v); }
    static Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
    static Register merge(Register a, Register b) { return _mm256_or_ps(a, b); }
};
#else
struct Vector {
    using Register = __m128;
    static constexpr size_t lanes = 4;
    static Register load(const float* p) { return _mm_loadu_ps(p); }
    static void store(float* p, Register v) { _mm_store_ps(p, v); }
    static void stream(float* p, Register v) { _mm_stream_ps(p, v); }
    static Register add(Register a, Register b) { return _mm_add_ps(a, b); }
    static Register merge(Register a, Register b) { return _mm_or_ps(a, b); }
};
#endif

constexpr size_t step = 4 * Vector::lanes;

template <bool streamed>
void put(float* p, Vector::Register v) {
    if constexpr (streamed) Vector::stream(p, v);
    else Vector::store(p, v);
}

// What was read must end somewhere, or the compiler drops the loads.
void swallow(Vector::Register v) { asm volatile("" : : "x"(v)); }

// 1R + 1W
template <bool streamed>
void copy(float* to, const float* a, const float*, size_t n) {
    for (size_t i = 0; i < n; i += step) {
        Vector::Register v[4];
        for (size_t k = 0; k < 4; k++) v[k] = Vector::load(a + i + k * Vector::lanes);
        for (size_t k = 0; k < 4; k++) put<streamed>(to + i + k * Vector::lanes, v[k]);
    }
    if constexpr (streamed) _mm_sfence();
}

// The elementwise a + b: 2R + 1W
template <bool streamed>
void sum(float* to, const float* a, const float* b, size_t n) {
    for (size_t i = 0; i < n; i += step) {
        Vector::Register v[4];
        for (size_t k = 0; k < 4; k++)
            v[k] = Vector::add(Vector::load(a + i + k * Vector::lanes), Vector::load(b + i + k * Vector::lanes));
        for (size_t k = 0; k < 4; k++) put<streamed>(to + i + k * Vector::lanes, v[k]);
    }
    if constexpr (streamed) _mm_sfence();
}

template <bool both>
void read(const float* a, const float* b, size_t n) {
    Vector::Register seen[4];
    for (size_t k = 0; k < 4; k++) seen[k] = Vector::load(a + k * Vector::lanes);
    for (size_t i = 0; i < n; i += step) {
        for (size_t k = 0; k < 4; k++) {
            seen[k] = Vector::merge(seen[k], Vector::load(a + i + k * Vector::lanes));
            if constexpr (both) seen[k] = Vector::merge(seen[k], Vector::load(b + i + k * Vector::lanes));
        }
    }
    swallow(Vector::merge(Vector::merge(seen[0], seen[1]), Vector::merge(seen[2], seen[3])));
}

// The bytes of a training forward pass: everything read once, then read again and written.
template <bool streamed>
void read_then_copy(float* to, const float* a, const float* b, size_t n) {
    read<false>(a, b, n);
    copy<streamed>(to, a, b, n);
}

// The bytes of a backward pass: both inputs read once, then read again and one output written.
template <bool streamed>
void read_then_sum(float* to, const float* a, const float* b, size_t n) {
    read<true>(a, b, n);
    sum<streamed>(to, a, b, n);
}

using Loop = void (*)(float*, const float*, const float*, size_t);
constexpr Loop loops[] = {
    copy<false>, copy<true>, read_then_copy<false>, read_then_copy<true>, sum<false>, sum<true>, read_then_sum<false>, read_then_sum<true>,
};

// A second thread that spins while it is awake, so that handing it work costs nothing that the limit would have to be excused for.
struct Worker {
    std::atomic<int> awake{0}, ordered{0}, done{0};
    Loop loop = nullptr;
    float* to = nullptr;
    const float* a = nullptr;
    const float* b = nullptr;
    size_t n = 0;

    void live() {
        int seen = 0;
        for (;;) {
            awake.wait(0);
            while (awake.load(std::memory_order_relaxed)) {
                const int order = ordered.load(std::memory_order_acquire);
                if (order == seen) {
                    _mm_pause();
                    continue;
                }
                seen = order;
                if (loop) loop(to, a, b, n);
                done.store(seen, std::memory_order_release);
            }
        }
    }

    void order(Loop what, float* d, const float* x, const float* y, size_t count) {
        loop = what, to = d, a = x, b = y, n = count;
        ordered.store(ordered.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

    void join() {
        while (done.load(std::memory_order_acquire) != ordered.load(std::memory_order_relaxed)) _mm_pause();
    }
};

Worker* worker = nullptr;

}  // namespace

extern "C" {

int bench_limit_width() { return static_cast<int>(Vector::lanes * 32); }

// Wakes the second thread, or lets it sleep; returns once it is awake.
void bench_limit_awake(int awake) {
    if (!worker) {
        if (!awake) return;
        worker = new Worker();
        std::thread([] { worker->live(); }).detach();
    }
    worker->awake.store(awake);
    if (!awake) return;
    worker->awake.notify_one();
    worker->order(nullptr, nullptr, nullptr, nullptr, 0);
    worker->join();
}

// `to` is aligned to 64 bytes; n is rounded up to whole steps, for which the buffers have room.
void bench_limit_run(int which, int threads, float* to, const float* a, const float* b, int64_t count) {
    const size_t n = (static_cast<size_t>(count) + 63) / 64 * 64;
    if (threads == 1) {
        loops[which](to, a, b, n);
        return;
    }
    const size_t half = (n / 2 + 63) / 64 * 64;
    worker->order(loops[which], to + half, a + half, b + half, n - half);
    loops[which](to, a, b, half);
    worker->join();
}
}
