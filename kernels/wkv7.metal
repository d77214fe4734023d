// RWKV-7's recurrence, row after row of each sequence, per head:
//
//   S   = S diag(decay) + (S (-removal)) (removal * a)^T + v key^T
//   out = S r
//
// r, decay, key, v, removal, a, out: [T, HEADS * HEAD]; state: [slots][HEADS][HEAD][HEAD],
// value channel by key channel; f32.
//
// Grid: heads x sequences. Threads: 4 * HEAD, see include/rwkv7.h. Rows go through
// threadgroup memory in batches, one simdgroup carrying one row in and out.
//
// Reference: crates/ingot-plan/src/ops/wkv7.rs
//
// variants: CHUNKS=1; CHUNKS=2; CHUNKS=8
#include "rwkv7.h"
#include "step.h"

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];

kernel void wkv7(device const float* r [[buffer(0)]],
                 device const float* decay [[buffer(1)]],
                 device const float* key [[buffer(2)]],
                 device const float* v [[buffer(3)]],
                 device const float* removal [[buffer(4)]],
                 device const float* a [[buffer(5)]],
                 device const uint* step [[buffer(6)]],
                 device float* state [[buffer(7)]],
                 device float* out [[buffer(8)]],
                 uint3 group [[threadgroup_position_in_grid]],
                 uint lane [[thread_index_in_simdgroup]],
                 uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 vectors4[VECTORS * BATCH * HEAD4];
    threadgroup float* vectors = (threadgroup float*)vectors4;
    grid_dependency_wait();

    uint rows = sequence_rows(step, group.y);
    ulong first = ulong(sequence_first_row(step, group.y)) * (HEADS * HEAD) + group.x * HEAD;
    device float* own_state = state + (ulong(sequence_slot(step, group.y)) * HEADS + group.x) * (HEAD * HEAD);
    float4 s[CHUNKS];
    wkv_load(s, own_state, HEAD, lane, simdgroup);

    uint batch = min(HEAD / 8, uint(BATCH)); // of HEAD / 8 simdgroups
    for (uint begin = 0; begin < rows; begin += batch) {
        uint row = begin + simdgroup;
        bool have = simdgroup < batch && row < rows;
        ulong at = first + ulong(row) * (HEADS * HEAD);
        float x[PER_LANE], removed[PER_LANE];
        if (have) {
            head_load(removed, removal + at, lane, HEAD);
            vector_store(removed, vectors + VECTOR_AT(V_REMOVAL, simdgroup), lane);
            head_load(x, a + at, lane, HEAD);
            for (uint j = 0; j < PER_LANE; j++) {
                x[j] *= removed[j];
            }
            vector_store(x, vectors + VECTOR_AT(V_REPLACE, simdgroup), lane);
            head_load(x, decay + at, lane, HEAD);
            vector_store(x, vectors + VECTOR_AT(V_DECAY, simdgroup), lane);
            head_load(x, key + at, lane, HEAD);
            vector_store(x, vectors + VECTOR_AT(V_KEY, simdgroup), lane);
            head_load(x, r + at, lane, HEAD);
            vector_store(x, vectors + VECTOR_AT(V_R, simdgroup), lane);
            head_load(x, v + at, lane, HEAD);
            vector_store(x, vectors + VECTOR_AT(V_V, simdgroup), lane);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        wkv_rows(s, vectors4, min(batch, rows - begin), lane, simdgroup);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (have) {
            vector_load(x, vectors + VECTOR_AT(V_Y, simdgroup), lane, HEAD);
            head_store(x, out + at, lane, HEAD);
        }
    }
    wkv_store(s, own_state, HEAD, lane, simdgroup);
}
