// Queries, keys and values of all rows on their way from the projections to attention:
//
//   q_out[t] = rope(norm(q[t]))            [T, Q_HEADS * N]
//   cache k at row t's position = rope(norm(k[t]))   [KV_HEADS * N]
//   cache v at row t's position = v[t]               [KV_HEADS * N]
//
// norm(x) = x / sqrt(mean(x^2) + eps) * weight over a head, where asked for. rope turns the pairs
// of a head by position * frequency, see include/turn.h.
// Without queries Q_HEADS is 0, without a cache KV_HEADS; their operands are then unused.
//
// References: crates/ingot-plan/src/ops/{rope,store_kv,rms_norm}.rs.
// Threads: a simdgroup takes HEADS_PER heads of a row. Grid: (heads / (SIMDGROUPS * HEADS_PER), T).
// All in f32.
// variants: CACHE=1; CACHE=2
#include "ingot.h"
#include "step.h"
#include "cache.h"

#define SIMDGROUPS 4 // of a threadgroup

constant uint N [[function_constant(0)]];
constant uint Q_HEADS [[function_constant(1)]];
constant uint KV_HEADS [[function_constant(2)]];
constant uint PAIRS [[function_constant(3)]];
constant uint HALVES [[function_constant(4)]];
constant float TURN_SCALE [[function_constant(5)]];
constant uint Q_NORM [[function_constant(6)]];
constant uint K_NORM [[function_constant(7)]];
constant float Q_EPS [[function_constant(8)]];
constant float K_EPS [[function_constant(9)]];
constant uint HEADS_PER [[function_constant(10)]];
#include "turn.h"

/// Head number `head` of queries, keys and values.
inline void numbered(thread Head& values, device const float* q, device const float* k, device const float* v, uint t,
                     uint head, uint lane) {
    const bool is_q = head < Q_HEADS, is_v = head >= Q_HEADS + KV_HEADS;
    const uint kv_head = (head - Q_HEADS) % max(KV_HEADS, 1u);
    device const float* x =
        is_q ? q + ulong(t) * (Q_HEADS * N) + head * N : (is_v ? v : k) + ulong(t) * (KV_HEADS * N) + kv_head * N;
    head_load(values, true, x, !is_v, lane);
}

kernel void rope_store(device const float* q [[buffer(0)]],           // [T, Q_HEADS * N]
                       device const float* k [[buffer(1)]],           // [T, KV_HEADS * N]
                       device const float* v [[buffer(2)]],           // [T, KV_HEADS * N]
                       device const float* q_weight [[buffer(3)]],    // [N]
                       device const float* k_weight [[buffer(4)]],    // [N]
                       device const float* frequencies [[buffer(5)]], // [PAIRS]
                       device float* q_out [[buffer(6)]],             // [T, Q_HEADS * N]
                       device uchar* cache [[buffer(7)]],
                       device const uint* step [[buffer(8)]],
                       uint2 group [[threadgroup_position_in_grid]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]]) {
    grid_dependency_wait();
    const uint t = group.y, heads = Q_HEADS + 2 * KV_HEADS;
    const uint begin = (group.x * SIMDGROUPS + simdgroup) * HEADS_PER;
    // Everything that does not need the position is on its way before it is there.
    Head values;
    numbered(values, q, k, v, t, min(begin, heads - 1), lane);
    const uint position = row_position(step, t);
    uint page = 0;
    if (KV_HEADS > 0) {
        page = page_of(step, row_sequence(step, t), position);
    }
    const uint end = t < step_rows(step) ? min(begin + HEADS_PER, heads) : 0;
    Turn turn;
    turn_at(turn, frequencies, position, lane);
    for (uint head = begin; head < end; head++) {
        if (head != begin) {
            numbered(values, q, k, v, t, head, lane);
        }
        const bool is_q = head < Q_HEADS, is_v = head >= Q_HEADS + KV_HEADS;
        const uint kv_head = (head - Q_HEADS) % max(KV_HEADS, 1u);
        if (is_q ? Q_NORM != 0 : K_NORM != 0 && !is_v) {
            head_norm(values, is_q ? q_weight : k_weight, is_q ? Q_EPS : K_EPS, lane);
        }
        device uchar* row = cache + cache_row(page, is_v ? 1 : 0, position, KV_HEADS * N);
#pragma unroll
        for (uint e = 0; e < VALUES; e++) {
            const uint i = 32 * e + lane;
            const float y = is_v ? values.own[e] : turned(values, turn, e);
            if (is_q && i < N) {
                q_out[ulong(t) * (Q_HEADS * N) + head * N + i] = y;
            }
            if (!is_q && 32 * e < N) {
                cache_store(row, kv_head * N + 32 * e, lane, y, i < N);
            }
        }
    }
}
