// hidden[t, n] = silu(gate_e x[t]) * (up_e x[t]) for e = the n-th expert chosen for row t.
//
// Reference: crates/ingot-plan/src/ops/experts.rs.
//
// gate, up [E, HIDDEN, WIDTH], x [T, WIDTH], choice [T, CHOSEN, 2] (see expert_choose),
// hidden [T, CHOSEN, HIDDEN]. Grid: x = threadgroups, each for every STRIDE-th set of
// rows (see linear.h), y = n, z = t. Threads: 32 SIMDGROUPS. Precision: as linear_vec.
// Only the chosen experts' weights are read.
//
// Options: P0_BLOCK, P0_ALIGN of gate, P1_BLOCK, P1_ALIGN of up; those of linear.h.
//
// variants: INPUTS=1 P0_BLOCK=10 P0_ALIGN=16 P1_BLOCK=10 P1_ALIGN=16
#define GLU 1
#include "linear_part.h"

constant uint HIDDEN [[function_constant(0)]];
constant uint WIDTH [[function_constant(1)]];
constant uint CHOSEN [[function_constant(2)]];
constant uint SPLIT [[function_constant(3)]];
constant uint STRIDE [[function_constant(4)]];

kernel void experts_up(device const uchar* gate [[buffer(0)]], device const uchar* up [[buffer(1)]],
                       device const float* x [[buffer(2)]], device const uint* choice [[buffer(3)]],
                       device float* hidden [[buffer(4)]], uint3 group [[threadgroup_position_in_grid]],
                       uint sg [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float sums[SUMS_SIZE];
    threadgroup uint words[WORDS_SIZE];
    threadgroup float scales[SCALES_SIZE];
    grid_dependency_wait();
    const ulong at_row = ulong(group.z) * CHOSEN + group.y;
    const ulong expert = ulong(choice[2 * at_row]) * HIDDEN;
    const Matrix m = {gate + expert * RowBytes<P0_BLOCK>::of(WIDTH), up + expert * RowBytes<P1_BLOCK>::of(WIDTH),
                      HIDDEN, WIDTH, SPLIT};
    const Ending e = {0.0f, 0, 0, x, x, hidden + at_row * HIDDEN};
    const Place at = {sg, lane};
    InputRow in;
    in.source = {x, x, x, 0.0f, 0.0f};
    in.rounded = {words, scales, 0};
    linear_part<DotOf<P0_BLOCK, ALIGN_OF(P0_BLOCK, P0_ALIGN), INPUTS>::D,
                DotOf<P1_BLOCK, ALIGN_OF(P1_BLOCK, P1_ALIGN), INPUTS>::D>(
        m, in, e, choice, group.z, group.x, STRIDE, sums, at);
}
