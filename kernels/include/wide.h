// Products by four simdgroups together, which is how NVIDIA's Hopper multiplies fastest (wgmma):
//
//     C[64][TILE_T] += A[64][64] B[64][TILE_T]
//
// A comes from the registers of the lanes, B (half) from threadgroup memory, C (float) stays in
// registers. Each simdgroup owns 16 rows of A and C. Lane l has of rows l / 4 and l / 4 + 8
//
// * of A the 16 values from column 16 (l % 4) on, which is what packed weights come in: word
//   4 j + 2 h + r has values 4 j + 2 h and 4 j + 2 h + 1 of row l / 4 + 8 r;
// * of C the columns 8 i + 2 (l % 4) and the next: value 4 i + 2 r + column % 2.
//
// The units would have other columns of A in these words. As sums do not mind in which order
// columns come, the rows of B change places instead, when they are packed: wide_place() in packed.h.
//
// The plain form at the end is for the simulator; on Metal and other NVIDIA GPUs, whose simdgroups multiply each for
// itself, tile.h is the way.
#pragma once
#include "packed.h"

// What only NVIDIA's compiler for this architecture defines.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

#define WIDE_8(d, i)                                                                                           \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define WIDE_32(d, i) WIDE_8(d, i), WIDE_8(d, i + 8), WIDE_8(d, i + 16), WIDE_8(d, i + 24)

/// c = a b for 16 columns and 128 tokens, or with ADD c += a b; begun, not ended.
template <bool ADD> inline void wide_multiply_128(thread float* c, thread const uint* a, ulong b) {
    asm volatile("{.reg .pred p;\nsetp.ne.u32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
                 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;}"
                 : WIDE_32(c, 0), WIDE_32(c, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(uint(ADD))
                 : "memory");
}

/// How the units find a tile of B at this address, which is a multiple of 1024: rows of 128
/// bytes, whose pieces change places, in groups of eight.
inline ulong wide_tile(uint address) { return (1ul << 62) | (64ul << 32) | (1ul << 16) | ulong(address >> 4); }

/// Begins c += a b for a step of 64 columns.
inline void wide_multiply(thread float* c, thread const uint* a, ulong b) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (uint j = 0; j < 4; j++) {
#pragma unroll
        for (uint n = 0; n < TILE_T / 128; n++) wide_multiply_128<true>(c + 64 * n, a + 4 * j, b + 2 * j + 1024 * n);
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Begins c = (a + a_rest) (b + b_rest) for a step, without the product of the rests; if there are RESTS of a.
template <bool RESTS>
inline void wide_multiply_exact(thread float* c, thread const uint* a, thread const uint* a_rest, ulong b, ulong b_rest) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (uint j = 0; j < 4; j++) {
        if (j == 0) wide_multiply_128<false>(c, a, b);
        if (j > 0) wide_multiply_128<true>(c, a + 4 * j, b + 2 * j);
        wide_multiply_128<true>(c, a + 4 * j, b_rest + 2 * j);
        if (RESTS) wide_multiply_128<true>(c, a_rest + 4 * j, b + 2 * j);
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits for all steps but the last `pending`.
#define wide_wait(pending) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory")
/// What a step multiplies must stay in its registers until the step was waited for.
inline void wide_keep(thread uint* a) {
#pragma unroll
    for (uint i = 0; i < 16; i++) asm volatile("" : "+r"(a[i])::"memory");
}

// Barriers in threadgroup memory that threads or copies arrive at, and their phases.
inline uint shared_address(const void* p) {
    uint s;
    asm("{.reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a;}" : "=r"(s) : "l"(p));
    return s;
}
inline void barrier_init(uint barrier, uint arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
inline void barrier_arrive(uint barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
inline void barrier_wait(uint barrier, uint phase) {
    asm volatile("{.reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE;\nbra AGAIN;\nDONE: }" ::"r"(barrier), "r"(phase)
                 : "memory");
}
/// Makes new barriers known to copies and to the other threadgroups of a cluster.
inline void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}
/// Copies so many bytes, a multiple of 16, to threadgroup memory; then the barrier's phase ends.
inline void barrier_copy(uint barrier, uint to, device const uchar* from, uint bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
/// A barrier for all threads of a cluster of threadgroups.
inline void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
/// Registers move from simdgroups that only copy to those that multiply, all four of a kind alike.
#if TILE_T == 256 || TILE_F32
#define wide_few_registers() asm volatile("setmaxnreg.dec.sync.aligned.u32 24;")
#define wide_many_registers() asm volatile("setmaxnreg.inc.sync.aligned.u32 240;")
#else
#define wide_few_registers()
#define wide_many_registers()
#endif

#else

/// c += a b for a step of 64 columns; b: [TILE_T][64] halves, placed as wide_place() says.
inline void wide_multiply(thread float* c, thread const uint* a, threadgroup const half* b, uint lane) {
    half2 rows[2][32]; // of A: pair 8 part + lane in four
    for (uint word = 0; word < 16; word++)
        for (uint q = 0; q < 4; q++)
            rows[word % 2][word / 2 * 4 + q] = as_type<half2>(simd_shuffle(a[word], lane / 4 * 4 + q));
    for (uint i = 0; i < TILE_T / 2; i++) {
        const uint t = i / 4 * 8 + lane % 4 * 2 + i % 2;
        for (uint pair = 0; pair < 32; pair++) {
            const half2 x = *(threadgroup const half2*)(b + t * WIDE_STEP + ((pair / 4) ^ (t % 8)) * 8 + pair % 4 * 2);
            const half2 w = rows[i / 2 % 2][pair];
            c[i] = fma(float(w.x), float(x.x), c[i]);
            c[i] = fma(float(w.y), float(x.y), c[i]);
        }
    }
}

#endif
