// RWKV-7's time mix of many rows, third part: from the recurrence to the gated output,
//
//   out = (group_norm(y) * weight + bias + bonus) * g
//
// over groups of HEAD values. y, bonus, g, out: [T, HEADS * HEAD]; weight, bias: [HEADS * HEAD]; f32.
//
// Grid: (heads / SIMDGROUPS, T). A simdgroup has a head.
//
// References: crates/ingot-plan/src/ops/{layer_norm,bonus}.rs
//
// variants: CHUNKS=1; CHUNKS=2
#include "rwkv7.h"

#define SIMDGROUPS 4

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];
constant float EPS [[function_constant(2)]];

kernel void rwkv7_finish(device const float* y [[buffer(0)]],
                         device const float* bonus [[buffer(1)]],
                         device const float* g [[buffer(2)]],
                         device const float* weight [[buffer(3)]],
                         device const float* bias [[buffer(4)]],
                         device float* out [[buffer(5)]],
                         uint2 group [[threadgroup_position_in_grid]],
                         uint lane [[thread_index_in_simdgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    const uint head = group.x * SIMDGROUPS + simdgroup;
    const uint have = head < HEADS ? HEAD : 0, at_head = min(head, HEADS - 1) * HEAD;
    float scale[PER_LANE], shift[PER_LANE], y0[PER_LANE], bonus0[PER_LANE], g0[PER_LANE];
    head_load(scale, weight + at_head, lane, have);
    head_load(shift, bias + at_head, lane, have);
    grid_dependency_wait();

    const ulong at = ulong(group.y) * (HEADS * HEAD) + at_head;
    head_load(y0, y + at, lane, have);
    head_load(bonus0, bonus + at, lane, have);
    head_load(g0, g + at, lane, have);
    head_norm(y0, scale, shift, EPS, lane, HEAD);
    for (uint j = 0; j < PER_LANE; j++) y0[j] = (y0[j] + bonus0[j]) * g0[j];
    head_store(y0, out + at, lane, have);
}
