// Attention of single rows over the cache, for steps with few rows: for the query of row t at
// position p and its head's key/value head, over the positions j with p - WINDOW < j <= p,
//
//   out[t] = sum_j softmax_j(cap(q[t] . k_j * SCALE)) v_j,   cap(s) = CAP tanh(s / CAP), or s where CAP is 0
//
// Reference: crates/ingot-plan/src/ops/attention.rs.
//
// A threadgroup does CHUNK positions, beginning at a multiple of CHUNK, for up to HEADS query heads
// that share a key/value head: every key and value is loaded once. What a chunk gives depends on
// nothing but the sequence, so a row's result does not depend on the other rows or on the grid.
// Where a step's sequences fit into one chunk (ONE_CHUNK), `out` is the result `[T, KV * GROUP * N]`;
// otherwise it is `[T, KV * GROUP, chunks of the grid][N + 2]`: the unnormalised sum, its maximum
// score and its sum of exponentials, which attention_merge puts together.
//
// With TURN queries come as they are projected, and keys and values of the rows themselves are not in
// the cache yet: both are normed and turned here first (include/attend_new.h), as rope_store would, and the
// threadgroup whose chunk has the row's own position stores its key and value. Then HEADS >= GROUP.
//
// Phases: scores (four lanes to a position, each with every fourth piece of eight values; two
// positions to a lane, so that the keys of half a chunk are on their way at once); the softmax of
// each head by one simdgroup; the weighted sum of values (a lane has eight values of every
// position it sees), added up over positions in a fixed order. All in f32.
// Threads: 256. Grid: (KV * passes over a group, chunks, T). N is a multiple of 8, HEADS * N <= 1024.
// variants: HEADS=8; RESIDENT=4; RESIDENT=4 CACHE=2; HEADS=1 CACHE=1; HEADS=2 CACHE=2; CACHE=1; CACHE=2; HEADS=8 CACHE=2; TURN=1
// variants: TURN=1 HEADS=8 CACHE=2; TURN=1 HEADS=1 CACHE=1
#include "ingot.h"
#include "step.h"

// Query heads of a threadgroup: 1, 2, 4 or 8.
#ifndef HEADS
#define HEADS 4
#endif
#ifndef TURN
#define TURN 0
#endif
// Threadgroups on a core at a time, for NVIDIA's compiler.
#ifndef RESIDENT
#define RESIDENT 2
#endif
#define INGOT_GROUPS RESIDENT
#include "attend.h"

constant uint N [[function_constant(0)]];
constant uint KV_HEADS [[function_constant(1)]];
constant uint GROUP [[function_constant(2)]];  // query heads of a key/value head
constant float SCALE [[function_constant(3)]];
constant uint WINDOW [[function_constant(4)]]; // 0: everything is seen
constant uint ONE_CHUNK [[function_constant(5)]];
constant uint LANES [[function_constant(6)]];  // that share a row of values: N / 8, up to a power of two
constant float CAP [[function_constant(7)]];
// With TURN:
constant uint PAIRS [[function_constant(8)]];
constant uint HALVES [[function_constant(9)]];
constant float TURN_SCALE [[function_constant(10)]];
constant uint Q_NORM [[function_constant(11)]];
constant uint K_NORM [[function_constant(12)]];
constant float Q_EPS [[function_constant(13)]];
constant float K_EPS [[function_constant(14)]];
#include "attend_new.h"

kernel void attention_vec(device const float* q [[buffer(0)]], // [T, KV * GROUP * N]
                          device uchar* cache [[buffer(1)]],
                          device const uint* step [[buffer(2)]],
                          device float* out [[buffer(3)]],
                          device const float* k [[buffer(4)]],           // with TURN: [T, KV * N]
                          device const float* v [[buffer(5)]],           // [T, KV * N]
                          device const float* q_weight [[buffer(6)]],    // [N]
                          device const float* k_weight [[buffer(7)]],    // [N]
                          device const float* frequencies [[buffer(8)]], // [PAIRS]
                          uint3 group [[threadgroup_position_in_grid]],
                          uint3 grid [[threadgroups_per_grid]],
                          uint thread_index [[thread_index_in_threadgroup]],
                          uint simdgroup [[simdgroup_index_in_threadgroup]],
                          uint lane [[thread_index_in_simdgroup]]) {
    // First the queries, 1024 values, and the scores [HEADS][CHUNK]; at the end the simdgroups' sums.
    threadgroup float4 aligned[1024];
    threadgroup float maxima[HEADS];
    threadgroup float totals[HEADS];
    threadgroup uint pages[CHUNK / PAGE];
    threadgroup float* memory = (threadgroup float*)aligned;
    grid_dependency_wait();
    const uint passes = grid.x / KV_HEADS, kv_head = group.x / passes;
    const uint first_head = group.x % passes * HEADS; // of the group
    const uint chunk = group.y, t = group.z, heads = KV_HEADS * GROUP;
    const ulong first_row = ulong(t) * heads + kv_head * GROUP + first_head; // of N values
    // On their way while the step is looked at.
#if TURN
    const ulong new_row = (ulong(t) * KV_HEADS + kv_head) * N;
    const New fresh = {q + first_row * N, k + new_row, v + new_row, q_weight, k_weight, frequencies};
    Head head;
    new_head(head, fresh, simdgroup, lane);
#else
    float queries[1024 / (32 * SIMDGROUPS)];
#pragma unroll
    for (uint e = 0; e < 1024 / (32 * SIMDGROUPS); e++) {
        const uint i = 32 * SIMDGROUPS * e + thread_index;
        queries[e] = i < HEADS * N && first_head + i / N < GROUP ? q[first_row * N + i] : 0.0f;
    }
#endif
    const uint position = row_position(step, t);
    const uint seen_from = WINDOW != 0 && position >= WINDOW ? position + 1 - WINDOW : 0;
    if (t >= step_rows(step) || chunk * CHUNK > position || (chunk + 1) * CHUNK <= seen_from) {
        return; // the whole threadgroup
    }
    const uint sequence = row_sequence(step, t);
    Chunk seen;
    seen.from = max(seen_from, chunk * CHUNK) - chunk * CHUNK;
    seen.end = min(position + 1 - chunk * CHUNK, uint(CHUNK));
    seen.width = KV_HEADS * N;
    seen.column = kv_head * N;
    seen.n = N;

#if TURN
    const bool stores = position / CHUNK == chunk;
    device uchar* key = cache;
    device uchar* value = cache;
    if (stores) {
        const uint page = page_of(step, sequence, position);
        key = cache + cache_row(page, 0, position, seen.width);
        value = cache + cache_row(page, 1, position, seen.width);
    }
    new_turned(head, fresh, position, stores, key, value, seen.column, memory, simdgroup, lane);
    threadgroup_barrier(mem_flags::mem_device);
#else
#pragma unroll
    for (uint e = 0; e < 1024 / (32 * SIMDGROUPS); e++) {
        memory[32 * SIMDGROUPS * e + thread_index] = queries[e];
    }
#endif
    if (thread_index * PAGE < seen.end) {
        pages[thread_index] = page_of(step, sequence, chunk * CHUNK + thread_index * PAGE);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    threadgroup float* scores = memory + 1024;
    const Column column = attend_column(LANES, simdgroup, lane);
    Values values;
#if EARLY
    attend_values_load(cache, pages, seen, column, column.first, values);
#endif
    attend_scores(cache, pages, seen, SCALE, CAP, memory, scores, simdgroup, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup < HEADS) {
        attend_softmax(scores + simdgroup * CHUNK, seen.end, maxima + simdgroup, totals + simdgroup, lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float sum[OUTPUTS];
    attend_values(cache, pages, seen, column, values, scores, sum);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // Rows of a simdgroup, then simdgroup i and i + 4, then these four: [4][OUTPUTS][LANES].
#pragma unroll
    for (uint i = 0; i < OUTPUTS; i++) {
        for (uint m = LANES; m < 32; m *= 2) {
            sum[i] += simd_shuffle_xor(sum[i], m);
        }
    }
    threadgroup float* own_sums = memory + simdgroup % 4 * 1024 + lane;
#pragma unroll
    for (uint i = 0; i < OUTPUTS; i++) {
        if (simdgroup >= 4 && lane < LANES) {
            own_sums[i * LANES] = sum[i];
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint i = 0; i < OUTPUTS; i++) {
        if (simdgroup < 4 && lane < LANES) {
            own_sums[i * LANES] = sum[i] + own_sums[i * LANES];
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < HEADS * N; i += 32 * SIMDGROUPS) {
        const uint h = i / N, at = (8 * h + i % 8) * LANES + i % N / 8;
        float x = 0.0f;
#pragma unroll
        for (uint s = 0; s < 4; s++) {
            x += memory[s * 1024 + at];
        }
        if (first_head + h >= GROUP) {
            continue;
        }
        if (ONE_CHUNK != 0) {
            out[first_row * N + i] = x / totals[h];
        } else {
            device float* partial = out + ((first_row + h) * grid.y + chunk) * (N + 2);
            partial[i % N] = x;
            if (i % N == 0) {
                partial[N] = maxima[h];
                partial[N + 1] = totals[h];
            }
        }
    }
}
