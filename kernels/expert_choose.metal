// Of each row of router logits the CHOSEN largest (ties: the lower index), and their
// softmax: choice[t] = {expert, weight as bits} CHOSEN times. With RENORMALISE weights sum to 1,
// else they are those of the softmax over all.
//
// Reference: `choose` in crates/ingot-plan/src/ops/experts.rs.
//
// logits [T, EXPERTS], choice [T, CHOSEN, 2]. Grid: x = row t. Threads: one simdgroup.
// Precision: f32.
#include "ingot.h"

constant uint EXPERTS [[function_constant(0)]];
constant uint CHOSEN [[function_constant(1)]];
constant uint RENORMALISE [[function_constant(2)]];

/// A number that is ordered as the float is, -0 below 0 and NaN at the ends.
inline int order_of(float v) {
    const int bits = as_type<int>(v);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
}

kernel void expert_choose(device const float* logits [[buffer(0)]], device uint* choice [[buffer(1)]],
                          uint t [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
    grid_dependency_wait();
    device const float* row = logits + ulong(t) * EXPERTS;
    device uint* out = choice + ulong(t) * 2 * CHOSEN;
    int last = 0;
    uint last_at = 0;
    float largest = 0.0f, total = 0.0f;
    for (uint n = 0; n < CHOSEN; n++) {
        // The first in the order of those that come after the last one.
        int best = -2147483647 - 1;
        uint at = EXPERTS;
        for (uint e = lane; e < EXPERTS; e += 32) {
            const int v = order_of(row[e]);
            const bool after = n == 0 || v < last || (v == last && e > last_at);
            if (after && (at == EXPERTS || v > best)) {
                best = v;
                at = e;
            }
        }
        last = simd_max(at < EXPERTS ? best : -2147483647 - 1);
        last_at = simd_min(at < EXPERTS && best == last ? at : EXPERTS);
        const float v = row[min(last_at, EXPERTS - 1)];
        if (n == 0) largest = v;
        const float weight = exp(v - largest);
        total += weight;
        if (lane == 0) {
            out[2 * n] = min(last_at, EXPERTS - 1);
            out[2 * n + 1] = as_type<uint>(weight);
        }
    }
    if (RENORMALISE == 0) {
        float all = 0.0f;
        for (uint e = lane; e < EXPERTS; e += 32) all += exp(row[e] - largest);
        total = simd_sum(all);
    }
    if (lane == 0)
        for (uint n = 0; n < CHOSEN; n++) out[2 * n + 1] = as_type<uint>(as_type<float>(out[2 * n + 1]) / total);
}
