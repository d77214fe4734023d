// Puts together what attention_vec found in the chunks of the positions that a row sees:
//
//   out[t, head] = sum_c o_c exp(m_c - M) / sum_c s_c exp(m_c - M),  M = max_c m_c
//
// with o_c, m_c, s_c the sum, maximum and total of chunk c. Reference: crates/ingot-plan/src/ops/attention.rs.
// Simdgroup i adds up the chunks c = i modulo SIMDGROUPS, so the order depends on positions only. It has
// BATCH of them on their way at a time, and finds M by itself meanwhile.
// Threads: 256. Grid: (heads, T). N <= 256. All in f32.
#include "ingot.h"
#include "step.h"

#define CHUNK 256 // as in attention_vec
#define SIMDGROUPS 8
#define VALUES 8 // of a lane, at most
#define BATCH 4  // chunks

constant uint N [[function_constant(0)]];
constant uint HEADS [[function_constant(1)]];
constant uint CHUNKS [[function_constant(2)]]; // that there is room for
constant uint WINDOW [[function_constant(3)]]; // 0: everything is seen

/// What BATCH chunks of a simdgroup gave.
struct Partials {
    float maximum[BATCH], total[BATCH], sum[BATCH][VALUES];
};

/// From chunk c on; nothing of chunks behind the last.
inline void load(thread Partials& p, device const float* rows, uint c, uint last, uint lane) {
#pragma unroll
    for (uint b = 0; b < BATCH; b++) {
        const uint from = c + b * SIMDGROUPS;
        const bool there = from <= last;
        device const float* row = rows + ulong(there ? from : last) * (N + 2);
        p.maximum[b] = there ? row[N] : as_type<float>(0xff800000u); // -infinity
        p.total[b] = row[N + 1];
#pragma unroll
        for (uint e = 0; e < VALUES; e++) {
            const uint i = 32 * e + lane;
            p.sum[b][e] = i < N ? row[i] : 0.0f;
        }
    }
}

kernel void attention_merge(device const float* partials [[buffer(0)]], // [T, HEADS, CHUNKS][N + 2]
                            device const uint* step [[buffer(1)]],
                            device float* out [[buffer(2)]], // [T, HEADS * N]
                            uint2 group [[threadgroup_position_in_grid]],
                            uint thread_index [[thread_index_in_threadgroup]],
                            uint simdgroup [[simdgroup_index_in_threadgroup]],
                            uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float sums[SIMDGROUPS * 32 * VALUES];
    threadgroup float totals[SIMDGROUPS];
    grid_dependency_wait();
    const uint head = group.x, t = group.y;
    if (t >= step_rows(step)) {
        return; // the whole threadgroup
    }
    const uint position = row_position(step, t);
    const uint seen_from = WINDOW != 0 && position >= WINDOW ? position + 1 - WINDOW : 0;
    const uint first = seen_from / CHUNK, last = position / CHUNK;
    device const float* rows = partials + (ulong(t) * HEADS + head) * CHUNKS * (N + 2);

    // The first chunk of this simdgroup that is seen.
    uint c = first + (simdgroup + SIMDGROUPS - first % SIMDGROUPS) % SIMDGROUPS;
    Partials p;
    load(p, rows, c, last, lane);
    float top = as_type<float>(0xff800000u); // -infinity
    for (uint i = first + lane; i <= last; i += 32) {
        top = max(top, rows[ulong(i) * (N + 2) + N]);
    }
    top = simd_max(top);

    float sum[VALUES], total = 0.0f;
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        sum[e] = 0.0f;
    }
    while (c <= last) {
#pragma unroll
        for (uint b = 0; b < BATCH; b++) {
            const float factor = exp(p.maximum[b] - top);
            total = fma(p.total[b], factor, total);
#pragma unroll
            for (uint e = 0; e < VALUES; e++) {
                sum[e] = fma(p.sum[b][e], factor, sum[e]);
            }
        }
        c += BATCH * SIMDGROUPS;
        if (c <= last) {
            load(p, rows, c, last, lane);
        }
    }
    if (lane == 0) {
        totals[simdgroup] = total;
    }
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        sums[simdgroup * 32 * VALUES + 32 * e + lane] = sum[e];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < N; i += 32 * SIMDGROUPS) {
        float x = 0.0f, all = 0.0f;
#pragma unroll
        for (uint s = 0; s < SIMDGROUPS; s++) {
            x += sums[s * 32 * VALUES + i];
            all += totals[s];
        }
        out[(ulong(t) * HEADS + head) * N + i] = x / all;
    }
}
