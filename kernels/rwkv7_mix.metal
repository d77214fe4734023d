// All of RWKV-7's time mix that is per head, from the projections to the gated
// output, row after row of each sequence:
//
//   v       = v + (v_first - v) * by                          with BLEND
//   decay   = exp(-exp(-1/2) * sigmoid(w))
//   removal = k * k_k / max(|k * k_k|, 1e-12)
//   key     = k * (1 + (a - 1) * k_a)
//   S       = S diag(decay) + (S (-removal)) (removal * a)^T + v key^T
//   y       = group_norm(S r) * weight + bias
//   out     = (y + (sum r key r_k) v) * g
//
// r, w, k, v, a, g, v_first, by, out: [T, HEADS * HEAD]; k_k, k_a, r_k,
// weight, bias: [HEADS * HEAD]; state: [slots][HEADS][HEAD][HEAD], value channel
// by key channel. Everything in f32.
//
// Grid: heads x sequences. Threads: 4 * HEAD, see include/rwkv7.h. Rows go through
// threadgroup memory in batches: simdgroup i prepares row i of a batch and finishes
// it; in between all of them run the recurrence, the state in registers, while the
// next batch is on its way.
//
// References: crates/ingot-plan/src/ops/{blend,rwkv_keys,wkv7,layer_norm,bonus}.rs
//
// variants: BLEND=1; CHUNKS=1 BLEND=1; CHUNKS=2; CHUNKS=8 BLEND=1; CHUNKS=16
#include "rwkv7.h"
#include "step.h"

#define INGOT_THREADS (64 * CHUNKS) // most that a launch has

#ifndef BLEND
#define BLEND 0
#endif

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];
constant float EPS [[function_constant(2)]];

/// A lane's channels of one row as they come.
struct Row {
    float r[PER_LANE], w[PER_LANE], k[PER_LANE], v[PER_LANE], a[PER_LANE], g[PER_LANE];
    float v_first[PER_LANE], by[PER_LANE];
};

/// Sends for this simdgroup's row of the batch that begins at `begin`.
#define FETCH(begin)                                        \
    if (simdgroup < batch && (begin) + simdgroup < rows) {  \
        ulong at = first + ulong((begin) + simdgroup) * (HEADS * HEAD); \
        head_load(next.r, r + at, lane, HEAD);              \
        head_load(next.w, w + at, lane, HEAD);              \
        head_load(next.k, k + at, lane, HEAD);              \
        head_load(next.v, v + at, lane, HEAD);              \
        head_load(next.a, a + at, lane, HEAD);              \
        head_load(next.g, g + at, lane, HEAD);              \
        if (BLEND) {                                        \
            head_load(next.v_first, v_first + at, lane, HEAD); \
            head_load(next.by, by + at, lane, HEAD);        \
        }                                                   \
    }

kernel void rwkv7_mix(device const float* r [[buffer(0)]],
                      device const float* w [[buffer(1)]],
                      device const float* k [[buffer(2)]],
                      device const float* v [[buffer(3)]],
                      device const float* a [[buffer(4)]],
                      device const float* g [[buffer(5)]],
                      device const float* v_first [[buffer(6)]],
                      device const float* by [[buffer(7)]],
                      device const float* k_k [[buffer(8)]],
                      device const float* k_a [[buffer(9)]],
                      device const float* r_k [[buffer(10)]],
                      device const float* weight [[buffer(11)]],
                      device const float* bias [[buffer(12)]],
                      device const uint* step [[buffer(13)]],
                      device float* state [[buffer(14)]],
                      device float* out [[buffer(15)]],
                      uint3 group [[threadgroup_position_in_grid]],
                      uint lane [[thread_index_in_simdgroup]],
                      uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 vectors4[VECTORS * BATCH * HEAD4];
    threadgroup float* vectors = (threadgroup float*)vectors4;
    float kk[PER_LANE], ka[PER_LANE], rk[PER_LANE], scale[PER_LANE], shift[PER_LANE];
    head_load(kk, k_k + group.x * HEAD, lane, HEAD);
    head_load(ka, k_a + group.x * HEAD, lane, HEAD);
    head_load(rk, r_k + group.x * HEAD, lane, HEAD);
    head_load(scale, weight + group.x * HEAD, lane, HEAD);
    head_load(shift, bias + group.x * HEAD, lane, HEAD);
    SequencePlace place = {0, 0, 0};
    ulong own_values = group.x * (HEAD * HEAD), each = ulong(HEADS) * (HEAD * HEAD);
    if (STEP_IS_EARLY) {
        place = sequence_place(step, group.y);
        prefetch_values(state + place.slot * each + own_values, HEAD * HEAD, 32 * simdgroup + lane, 4 * HEAD);
    }
    grid_dependency_wait();
    if (!STEP_IS_EARLY) {
        place = sequence_place(step, group.y);
    }

    uint rows = place.rows;
    ulong first = ulong(place.first_row) * (HEADS * HEAD) + group.x * HEAD;
    uint batch = min(HEAD / 8, uint(BATCH)); // of HEAD / 8 simdgroups
    Row next;
    FETCH(0);
    device float* own_state = state + place.slot * each + own_values;
    float4 s[CHUNKS];
    wkv_load(s, own_state, HEAD, lane, simdgroup);

    for (uint begin = 0; begin < rows; begin += batch) {
        uint row = begin + simdgroup;
        bool have = simdgroup < batch && row < rows;
        float own = 0.0f, gate[PER_LANE];
        if (have) {
            float decay[PER_LANE], removal[PER_LANE], replace[PER_LANE], key[PER_LANE];
            rwkv_removal(removal, next.k, kk);
            for (uint j = 0; j < PER_LANE; j++) {
                decay[j] = rwkv_decay(next.w[j]);
                replace[j] = removal[j] * next.a[j];
                key[j] = rwkv_key(next.k[j], next.a[j], ka[j]);
                gate[j] = next.g[j];
                if (BLEND) {
                    next.v[j] = fma(next.v_first[j] - next.v[j], next.by[j], next.v[j]);
                }
            }
            own = rwkv_own(next.r, key, rk);
            vector_store(decay, vectors + VECTOR_AT(V_DECAY, simdgroup), lane);
            vector_store(removal, vectors + VECTOR_AT(V_REMOVAL, simdgroup), lane);
            vector_store(replace, vectors + VECTOR_AT(V_REPLACE, simdgroup), lane);
            vector_store(key, vectors + VECTOR_AT(V_KEY, simdgroup), lane);
            vector_store(next.r, vectors + VECTOR_AT(V_R, simdgroup), lane);
            vector_store(next.v, vectors + VECTOR_AT(V_V, simdgroup), lane);
        }
        FETCH(begin + batch);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        wkv_rows(s, vectors4, min(batch, rows - begin), lane, simdgroup);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (begin + batch >= rows) {
            wkv_store(s, own_state, HEAD, lane, simdgroup);
        }
        if (have) {
            float y[PER_LANE], v0[PER_LANE];
            vector_load(y, vectors + VECTOR_AT(V_Y, simdgroup), lane, HEAD);
            vector_load(v0, vectors + VECTOR_AT(V_V, simdgroup), lane, HEAD);
            head_norm(y, scale, shift, EPS, lane, HEAD);
            for (uint j = 0; j < PER_LANE; j++) {
                y[j] = fma(own, v0[j], y[j]) * gate[j];
            }
            head_store(y, out + first + ulong(row) * (HEADS * HEAD), lane, HEAD);
        }
    }
}
