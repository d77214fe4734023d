// decay   = exp(-exp(-1/2) * sigmoid(w))
// removal = k * k_k / max(|k * k_k|, 1e-12)
// key     = k * (1 + (a - 1) * k_a)
//
// w, k, a, decay, removal, key: [T, HEADS * HEAD]; k_k, k_a: [HEADS * HEAD]; f32.
// Grid: heads x rows. Threads: 32.
//
// Reference: crates/ingot-plan/src/ops/rwkv_keys.rs
//
// variants: CHUNKS=1; CHUNKS=8
#include "rwkv7.h"

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];

kernel void rwkv_keys(device const float* w [[buffer(0)]],
                      device const float* k [[buffer(1)]],
                      device const float* a [[buffer(2)]],
                      device const float* k_k [[buffer(3)]],
                      device const float* k_a [[buffer(4)]],
                      device float* decay [[buffer(5)]],
                      device float* removal [[buffer(6)]],
                      device float* key [[buffer(7)]],
                      uint3 group [[threadgroup_position_in_grid]],
                      uint lane [[thread_index_in_simdgroup]]) {
    float kk[PER_LANE], ka[PER_LANE], x[PER_LANE], k0[PER_LANE], a0[PER_LANE];
    head_load(kk, k_k + group.x * HEAD, lane, HEAD);
    head_load(ka, k_a + group.x * HEAD, lane, HEAD);
    grid_dependency_wait();

    ulong at = (ulong(group.y) * HEADS + group.x) * HEAD;
    head_load(k0, k + at, lane, HEAD);
    head_load(a0, a + at, lane, HEAD);
    rwkv_removal(x, k0, kk);
    head_store(x, removal + at, lane, HEAD);
    for (uint j = 0; j < PER_LANE; j++) {
        x[j] = rwkv_key(k0[j], a0[j], ka[j]);
    }
    head_store(x, key + at, lane, HEAD);
    head_load(x, w + at, lane, HEAD);
    for (uint j = 0; j < PER_LANE; j++) {
        x[j] = rwkv_decay(x[j]);
    }
    head_store(x, decay + at, lane, HEAD);
}
