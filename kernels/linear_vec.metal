// out_p[t] = act_p(norm(x_p[t]) W_p^T + bias_p) for 1 to 8 parts in one launch:
// matrices of any types and sizes, which may have different inputs.
//
// Reference: crates/ingot-plan/src/ops/linear.rs (and rms_norm.rs, layer_norm.rs,
// glu.rs, select.rs, add.rs for what is worked in).
//
// Grid: x = threadgroups of all parts, Pn_GROUPS each; y = row t of the outputs.
// Threads: 32 SIMDGROUPS. Precision: f32; with INPUTS = 1 packed weights see their
// input rounded to 8 bits in blocks of 32, and products within a block are integers.
//
// w, x, y: weights, input [T, cols], output [T, rows] of each part; b: biases [rows]
// of the first four. more: the step buffer with SELECT, the residual [T, rows] with
// RESIDUAL. What is not used is empty.
//
// Options: PARTS and those of linear_options.h, linear.h, linear_part.h. With NORM all parts have
// the same input. With GLU there is one part, and w1 of type P1_BLOCK is its second
// matrix. SELECT and RESIDUAL exclude each other and go with one part.
//
// variants: NORM=1 SIMDGROUPS=16 INPUTS=1 P0_BLOCK=10 P0_ALIGN=16 P0_ACT=0 P0_BIAS=1
// variants: NORM=1 SIMDGROUPS=16 INPUTS=1 GLU=1 P0_BLOCK=12 P0_ALIGN=4 P0_ACT=0 P0_BIAS=0 P1_BLOCK=3 P1_ALIGN=16
// variants: NORM=2 SKIP_ZEROS=1 RESIDUAL=1 P0_BLOCK=11 P0_ALIGN=16 P0_ACT=2 P0_BIAS=0
// variants: GLU=2 P0_BLOCK=10 P0_ALIGN=16 P0_ACT=0 P0_BIAS=0 P1_BLOCK=10 P1_ALIGN=16
// variants: GLU=1 INPUTS=1 P0_BLOCK=16 P0_ALIGN=16 P0_ACT=0 P0_BIAS=0 P1_BLOCK=16 P1_ALIGN=16
// variants: RESIDUAL=1 INPUTS=1 P0_BLOCK=17 P0_ALIGN=16 P0_ACT=0 P0_BIAS=0
// variants: SELECT=1 P0_BLOCK=1 P0_ALIGN=16 P0_ACT=0 P0_BIAS=0
#include "linear_part.h"

#ifndef PARTS
#define PARTS 1
#endif

constant uint P0_ROWS [[function_constant(0)]]; constant uint P0_COLS [[function_constant(1)]];
constant uint P0_SPLIT [[function_constant(2)]]; constant uint P0_GROUPS [[function_constant(3)]];
constant uint P1_ROWS [[function_constant(4)]]; constant uint P1_COLS [[function_constant(5)]];
constant uint P1_SPLIT [[function_constant(6)]]; constant uint P1_GROUPS [[function_constant(7)]];
constant uint P2_ROWS [[function_constant(8)]]; constant uint P2_COLS [[function_constant(9)]];
constant uint P2_SPLIT [[function_constant(10)]]; constant uint P2_GROUPS [[function_constant(11)]];
constant uint P3_ROWS [[function_constant(12)]]; constant uint P3_COLS [[function_constant(13)]];
constant uint P3_SPLIT [[function_constant(14)]]; constant uint P3_GROUPS [[function_constant(15)]];
constant uint P4_ROWS [[function_constant(16)]]; constant uint P4_COLS [[function_constant(17)]];
constant uint P4_SPLIT [[function_constant(18)]]; constant uint P4_GROUPS [[function_constant(19)]];
constant uint P5_ROWS [[function_constant(20)]]; constant uint P5_COLS [[function_constant(21)]];
constant uint P5_SPLIT [[function_constant(22)]]; constant uint P5_GROUPS [[function_constant(23)]];
constant uint P6_ROWS [[function_constant(24)]]; constant uint P6_COLS [[function_constant(25)]];
constant uint P6_SPLIT [[function_constant(26)]]; constant uint P6_GROUPS [[function_constant(27)]];
constant uint P7_ROWS [[function_constant(28)]]; constant uint P7_COLS [[function_constant(29)]];
constant uint P7_SPLIT [[function_constant(30)]]; constant uint P7_GROUPS [[function_constant(31)]];
constant float EPS [[function_constant(32)]];

#if GLU
#define SECOND(D) DotOf<P1_BLOCK, ALIGN_OF(P1_BLOCK, P1_ALIGN), INPUTS>::D
#define SECOND_WEIGHTS(w) w1
#else
#define SECOND(D) D
#define SECOND_WEIGHTS(w) w
#endif

// The threadgroups from `begin` on are this part's. The condition is the same for
// all threads of a threadgroup.
#define PART(BLOCK, ALIGN, ACT, BIAS, w, in, out, bias, rows, cols, split, groups)                             \
    if (group.x >= begin && group.x < begin + groups) {                                                        \
        typedef DotOf<BLOCK, ALIGN_OF(BLOCK, ALIGN), INPUTS>::D D;                                             \
        const Matrix m = {w, SECOND_WEIGHTS(w), rows, cols, split};                                            \
        const ulong at_row = ulong(t) * rows;                                                                  \
        const Ending e = {eps, ACT, BIAS, bias, residual + at_row, out + at_row};                              \
        x.source.x = in;                                                                                       \
        linear_part<D, SECOND(D)>(m, x, e, more, t, group.x - begin, groups, sums, at);                \
    }                                                                                                          \
    begin += groups;

kernel void linear_vec(
    device const uchar* w0 [[buffer(0)]], device const uchar* w1 [[buffer(1)]],
    device const uchar* w2 [[buffer(2)]], device const uchar* w3 [[buffer(3)]],
    device const uchar* w4 [[buffer(4)]], device const uchar* w5 [[buffer(5)]],
    device const uchar* w6 [[buffer(6)]], device const uchar* w7 [[buffer(7)]],
    device const float* x0 [[buffer(8)]], device const float* x1 [[buffer(9)]],
    device const float* x2 [[buffer(10)]], device const float* x3 [[buffer(11)]],
    device const float* x4 [[buffer(12)]], device const float* x5 [[buffer(13)]],
    device const float* x6 [[buffer(14)]], device const float* x7 [[buffer(15)]],
    device float* y0 [[buffer(16)]], device float* y1 [[buffer(17)]],
    device float* y2 [[buffer(18)]], device float* y3 [[buffer(19)]],
    device float* y4 [[buffer(20)]], device float* y5 [[buffer(21)]],
    device float* y6 [[buffer(22)]], device float* y7 [[buffer(23)]],
    device const float* b0 [[buffer(24)]], device const float* b1 [[buffer(25)]],
    device const float* b2 [[buffer(26)]], device const float* b3 [[buffer(27)]],
    device const float* norm_weight [[buffer(28)]], device const float* norm_bias [[buffer(29)]],
    device const uint* more [[buffer(30)]],
    uint3 group [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float sums[SUMS_SIZE];
    threadgroup uint words[WORDS_SIZE];
    threadgroup float scales[SCALES_SIZE];
    const Place at = {sg, lane};
    const uint t = group.y;
    const float eps = EPS;
    InputRow x;
    x.source = {x0, norm_weight, norm_bias, 0.0f, 0.0f};
    x.rounded = {words, scales, 0};
    device const float* residual = (device const float*)more;
    uint begin = 0;
    PART(P0_BLOCK, P0_ALIGN, P0_ACT, P0_BIAS, w0, x0, y0, b0, P0_ROWS, P0_COLS, P0_SPLIT, P0_GROUPS)
#if PARTS > 1
    PART(P1_BLOCK, P1_ALIGN, P1_ACT, P1_BIAS, w1, x1, y1, b1, P1_ROWS, P1_COLS, P1_SPLIT, P1_GROUPS)
#endif
#if PARTS > 2
    PART(P2_BLOCK, P2_ALIGN, P2_ACT, P2_BIAS, w2, x2, y2, b2, P2_ROWS, P2_COLS, P2_SPLIT, P2_GROUPS)
#endif
#if PARTS > 3
    PART(P3_BLOCK, P3_ALIGN, P3_ACT, P3_BIAS, w3, x3, y3, b3, P3_ROWS, P3_COLS, P3_SPLIT, P3_GROUPS)
#endif
#if PARTS > 4
    PART(P4_BLOCK, P4_ALIGN, P4_ACT, P4_BIAS, w4, x4, y4, b0, P4_ROWS, P4_COLS, P4_SPLIT, P4_GROUPS)
#endif
#if PARTS > 5
    PART(P5_BLOCK, P5_ALIGN, P5_ACT, P5_BIAS, w5, x5, y5, b0, P5_ROWS, P5_COLS, P5_SPLIT, P5_GROUPS)
#endif
#if PARTS > 6
    PART(P6_BLOCK, P6_ALIGN, P6_ACT, P6_BIAS, w6, x6, y6, b0, P6_ROWS, P6_COLS, P6_SPLIT, P6_GROUPS)
#endif
#if PARTS > 7
    PART(P7_BLOCK, P7_ALIGN, P7_ACT, P7_BIAS, w7, x7, y7, b0, P7_ROWS, P7_COLS, P7_SPLIT, P7_GROUPS)
#endif
}
