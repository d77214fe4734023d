// How threadgroups on Hopper work on a tile: see linear_wide.h.
#pragma once

#define STAGES 4
#define TILES_ALIGN 1024
#if INGOT_SHARED < STAGES * STAGE_BYTES + TILES_ALIGN
#error INGOT_SHARED is too small
#endif

/// The stages: more memory than a kernel may declare.
inline uint stages_begin() {
    extern __shared__ uint4 shared[];
    return (shared_address(shared) + TILES_ALIGN - 1) / TILES_ALIGN * TILES_ALIGN;
}

/// Tells when a stage is filled, when it may be filled again, and when the tokens' factors are there.
struct Pipe {
    uint full, empty, factors, stages;
};

inline Pipe pipe_new(bool first) {
    __shared__ ulong barriers[2 * STAGES + 1];
    Pipe p;
    p.full = shared_address(barriers);
    p.empty = p.full + 8 * STAGES;
    p.factors = p.empty + 8 * STAGES;
    p.stages = stages_begin();
    if (first) {
        barrier_init(p.factors, 32);
        for (uint i = 0; i < STAGES; i++) {
            barrier_init(p.full + 8 * i, 1);
            barrier_init(p.empty + 8 * i, MULTIPLIERS);
        }
        barriers_ready();
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return p;
}

/// Fills stage after stage; one thread does.
inline void fill(thread const Pipe& p, thread const Part& part, thread const Place& at, Steps steps, uint tokens) {
    const uint padded = wide_tokens(tokens);
    const uint bytes = STAGE_BYTES / TILE_T; // of a token
    device const uchar* x = part.x + 4 * padded + (ulong(steps.first) * padded + at.token) * bytes;
    uint stage = 0, phase = 1;
#pragma unroll 1
    for (uint k = steps.first; k < steps.end; k++) {
        barrier_wait(p.empty + 8 * stage, phase);
        barrier_copy(p.full + 8 * stage, p.stages + stage * STAGE_BYTES, x, STAGE_BYTES);
        x += ulong(padded) * bytes;
        stage = (stage + 1) % STAGES;
        phase ^= stage == 0;
    }
}

#if TILE_F32

/// All steps. Two simdgroups that take turns on a core's units wait while the others multiply.
template <uint TYPE, class U>
inline void multiply(thread const Pipe& p, thread float* sums, thread Rows<U>& w, thread const RowPair& rows, uint cols,
                     Steps steps, thread const Place& at) {
    float c[SUMS];
#pragma unroll
    for (uint i = 0; i < SUMS; i++) c[i] = 0.0f;
    uint stage = 0, phase = 0;
#pragma unroll 1
    for (uint k = steps.first; k < steps.end; k++) {
        uint a[16], rest[16];
        rows_unpack(w, cols, k, at.quarter, a, rest);
        if (k + 1 < steps.end) rows_load(w, rows, cols, k + 1, at.quarter);
        barrier_wait(p.full + 8 * stage, phase);
        const uint x = p.stages + stage * STAGE_BYTES;
        wide_multiply_exact<TYPE != BLOCK_F16>(c, a, rest, wide_tile(x), wide_tile(x + TILE_T * WIDE_BYTES));
        wide_wait(0);
        wide_keep(a);
        wide_keep(rest);
        if (at.lane == 0) barrier_arrive(p.empty + 8 * stage);
#pragma unroll
        for (uint i = 0; i < SUMS; i++) sums[i] += c[i];
        stage = (stage + 1) % STAGES;
        phase ^= stage == 0;
    }
}

#else

/// One step: begins to multiply `a`, then unpacks the next step's weights into `after` and loads those behind it.
/// When the step before is over, `after` may be written and that step's stage be filled again.
template <class U>
inline void step_once(thread const Pipe& p, thread float* sums, thread uint* a, thread uint* after, thread Rows<U>& w,
                      thread const RowPair& rows, uint cols, uint k, Steps steps, thread uint& stage, thread uint& phase,
                      thread const Place& at) {
    barrier_wait(p.full + 8 * stage, phase);
    wide_multiply(sums, a, wide_tile(p.stages + stage * STAGE_BYTES));
    wide_wait(1);
    wide_keep(after);
    if (k > steps.first && at.lane == 0) barrier_arrive(p.empty + 8 * ((stage + STAGES - 1) % STAGES));
    if (k + 1 < steps.end) rows_unpack(w, cols, k + 1, at.quarter, after, after);
    if (k + 2 < steps.end) rows_load(w, rows, cols, k + 2, at.quarter);
    stage = (stage + 1) % STAGES;
    phase ^= stage == 0;
}

/// All steps.
template <uint TYPE, class U>
inline void multiply(thread const Pipe& p, thread float* sums, thread Rows<U>& w, thread const RowPair& rows, uint cols,
                     Steps steps, thread const Place& at) {
    uint even[16], odd[16];
    rows_unpack(w, cols, steps.first, at.quarter, even, even);
#pragma unroll
    for (uint i = 0; i < 16; i++) odd[i] = 0;
    if (steps.first + 1 < steps.end) rows_load(w, rows, cols, steps.first + 1, at.quarter);
    uint stage = 0, phase = 0;
#pragma unroll 1
    for (uint k = steps.first; k < steps.end; k += 2) {
        step_once(p, sums, even, odd, w, rows, cols, k, steps, stage, phase, at);
        if (k + 1 < steps.end) step_once(p, sums, odd, even, w, rows, cols, k + 1, steps, stage, phase, at);
    }
    wide_wait(0);
}

#endif

/// Hands the other threadgroup the sums of its half of the tokens and adds what it hands over.
inline void share(thread const Pipe& p, thread float* sums, uint rank, uint t) {
    const uint count = SUMS / 2, own = p.stages + 16 * t, stride = 16 * 32 * MULTIPLIERS;
    uint other;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(own), "r"(rank ^ 1));
#pragma unroll
    for (uint i = 0; i < count / 4; i++) {
        float v[4];
#pragma unroll
        for (uint e = 0; e < 4; e++) v[e] = select(sums[count + 4 * i + e], sums[4 * i + e], rank == 1);
        asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(other + i * stride), "f"(v[0]), "f"(v[1]),
                     "f"(v[2]), "f"(v[3])
                     : "memory");
    }
    cluster_barrier();
#pragma unroll
    for (uint i = 0; i < count / 4; i++) {
        float v[4];
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                     : "r"(own + i * stride)
                     : "memory");
#pragma unroll
        for (uint e = 0; e < 4; e++) sums[4 * i + e] = select(sums[4 * i + e], sums[count + 4 * i + e], rank == 1) + v[e];
    }
}

/// This threadgroup's share of a tile.
template <uint TYPE, uint ALIGN>
inline void wide(thread const Part& part, thread const Place& at, uint rank, device const uint* step,
                 device const float* residual, threadgroup uint4*) {
    typedef Unpacked<TYPE, ALIGN> U;
    const Steps steps = steps_of(part.cols, rank);
    const Pipe p = pipe_new(at.simdgroup == 0 && at.lane == 0);
    __shared__ float factors[TILE_T];
    if (at.simdgroup >= MULTIPLIERS) {
        wide_few_registers();
        grid_dependency_wait();
        const uint tokens = step_rows(step);
        if (at.simdgroup == MULTIPLIERS && at.lane == 0) fill(p, part, at, steps, tokens);
        if (at.simdgroup == MULTIPLIERS + 1) {
#pragma unroll
            for (uint i = 0; i < TILE_T / 32; i++)
                factors[32 * i + at.lane] = token_factor(part, at.token + 32 * i + at.lane, tokens);
            barrier_arrive(p.factors);
        }
        if (SPLIT > 1) {
            simdgroup_barrier(mem_flags::mem_threadgroup);
            cluster_barrier();
            cluster_barrier();
        }
    } else {
        wide_many_registers();
        const RowPair rows = rows_find(part, at, RowBytes<TYPE>::of(part.cols));
        Rows<U> w;
        rows_load(w, rows, part.cols, steps.first, at.quarter);
        float sums[SUMS];
#pragma unroll
        for (uint i = 0; i < SUMS; i++) sums[i] = 0.0f;
        grid_dependency_wait();
        multiply<TYPE>(p, sums, w, rows, part.cols, steps, at);
        barrier_wait(p.factors, 0);
        const uint tokens = step_rows(step);
        if (SPLIT > 1) {
            cluster_barrier();
            share(p, sums, rank, 32 * at.simdgroup + at.lane);
            put<SUMS / 2>(part, at, at.token + rank * (TILE_T / 2), tokens, residual, sums, factors);
        } else {
            put<SUMS>(part, at, at.token, tokens, residual, sums, factors);
        }
    }
}
