// Puts together what attention_vec found in the chunks of the positions that a row sees:
//
//   out[t, head] = sum_c o_c exp(m_c - M) / sum_c s_c exp(m_c - M),  M = max_c m_c
//
// with o_c, m_c, s_c the sum, maximum and total of chunk c. Reference: crates/ingot-plan/src/ops/attention.rs.
// Simdgroup i adds up the chunks c = i modulo SIMDGROUPS, so the order depends on positions only.
// Threads: 256. Grid: (heads, T). N <= 256. All in f32.
#include "ingot.h"
#include "reduce.h"
#include "step.h"

#define CHUNK 256 // as in attention_vec
#define SIMDGROUPS 8
#define VALUES 8 // of a lane, at most

constant uint N [[function_constant(0)]];
constant uint HEADS [[function_constant(1)]];
constant uint CHUNKS [[function_constant(2)]]; // that there is room for
constant uint WINDOW [[function_constant(3)]]; // 0: everything is seen

kernel void attention_merge(device const float* partials [[buffer(0)]], // [T, HEADS, CHUNKS][N + 2]
                            device const uint* step [[buffer(1)]],
                            device float* out [[buffer(2)]], // [T, HEADS * N]
                            uint2 group [[threadgroup_position_in_grid]],
                            uint thread_index [[thread_index_in_threadgroup]],
                            uint simdgroup [[simdgroup_index_in_threadgroup]],
                            uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float shared[REDUCE_MAX];
    threadgroup float sums[SIMDGROUPS * 32 * VALUES];
    grid_dependency_wait();
    const uint head = group.x, t = group.y;
    if (t >= step_rows(step)) {
        return; // the whole threadgroup
    }
    const uint position = row_position(step, t);
    const uint seen_from = WINDOW != 0 && position >= WINDOW ? position + 1 - WINDOW : 0;
    const uint first = seen_from / CHUNK, last = position / CHUNK;
    const ulong stride = N + 2;
    device const float* rows = partials + (ulong(t) * HEADS + head) * CHUNKS * stride;

    float top = as_type<float>(0xff800000u); // -infinity
    for (uint c = first + thread_index; c <= last; c += 32 * SIMDGROUPS) {
        top = max(top, rows[c * stride + N]);
    }
    top = threadgroup_max(top, shared, simdgroup, lane, SIMDGROUPS);

    float sum[VALUES], total = 0.0f;
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        sum[e] = 0.0f;
    }
    // The first chunk of this simdgroup that is seen.
    for (uint c = first + (simdgroup + SIMDGROUPS - first % SIMDGROUPS) % SIMDGROUPS; c <= last; c += SIMDGROUPS) {
        device const float* row = rows + c * stride;
        const float factor = exp(row[N] - top);
        total = fma(row[N + 1], factor, total);
#pragma unroll
        for (uint e = 0; e < VALUES; e++) {
            const uint i = 32 * e + lane;
            if (i < N) {
                sum[e] = fma(row[i], factor, sum[e]);
            }
        }
    }
    total = threadgroup_sum(lane == 0 ? total : 0.0f, shared, simdgroup, lane, SIMDGROUPS);
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        sums[simdgroup * 32 * VALUES + 32 * e + lane] = sum[e];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < N; i += 32 * SIMDGROUPS) {
        float x = 0.0f;
#pragma unroll
        for (uint s = 0; s < SIMDGROUPS; s++) {
            x += sums[s * 32 * VALUES + i];
        }
        out[(ulong(t) * HEADS + head) * N + i] = x / total;
    }
}
