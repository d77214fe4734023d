// out = (y + (sum r k r_k) v) * g, the sum over a head
//
// y, r, k, v, g, out: [T, HEADS * HEAD]; r_k: [HEADS * HEAD]; f32.
// Grid: heads x rows. Threads: 32.
//
// Reference: crates/ingot-plan/src/ops/bonus.rs
//
// variants: CHUNKS=1; CHUNKS=8
#include "rwkv7.h"

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];

kernel void bonus(device const float* y [[buffer(0)]],
                  device const float* r [[buffer(1)]],
                  device const float* k [[buffer(2)]],
                  device const float* v [[buffer(3)]],
                  device const float* g [[buffer(4)]],
                  device const float* r_k [[buffer(5)]],
                  device float* out [[buffer(6)]],
                  uint3 group [[threadgroup_position_in_grid]],
                  uint lane [[thread_index_in_simdgroup]]) {
    float rk[PER_LANE], r0[PER_LANE], k0[PER_LANE], v0[PER_LANE], y0[PER_LANE], g0[PER_LANE];
    head_load(rk, r_k + group.x * HEAD, lane, HEAD);
    grid_dependency_wait();

    ulong at = (ulong(group.y) * HEADS + group.x) * HEAD;
    head_load(r0, r + at, lane, HEAD);
    head_load(k0, k + at, lane, HEAD);
    head_load(v0, v + at, lane, HEAD);
    head_load(y0, y + at, lane, HEAD);
    head_load(g0, g + at, lane, HEAD);
    float own = rwkv_own(r0, k0, rk);
    for (uint j = 0; j < PER_LANE; j++) {
        y0[j] = fma(own, v0[j], y0[j]) * g0[j];
    }
    head_store(y0, out + at, lane, HEAD);
}
