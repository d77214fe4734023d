// Products of few rows with up to eight matrices, on matrix units:
//
//     out_p[t, r] = act_p(sum_k x_p[t, k] w_p[r, k] + bias_p[r]) (+ residual[t, r])
//
// x_p: packed rows (include/packed_few.h), [T, COLS_p]; w_p: [ROWS_p, COLS_p] of a type of block;
// bias_p: [ROWS_p]; out_p: [T, ROWS_p]. A residual [T, ROWS_0], which only a single part has, is
// buffer b1. T are the step's rows, or with OUTPUTS its outputs. What is not used may be any memory.
//
// Reference: crates/ingot-plan/src/ops/linear.rs.
//
// Grid: (groups of TOKENS tokens, groups of 16 TALL SIMDGROUPS / SPLIT weight rows, part after part).
// Every weight is loaded once for up to TOKENS tokens and unpacked to half in registers. Sums are f32; in
// which order depends on SPLIT, which depends on the matrices alone: of the chunks of 64 columns (128
// of Q8_0) simdgroup i of SPLIT adds up i, i + SPLIT, ..., and then their sums are added.
//
// A launch knows up to two types of blocks; HOW_p has bits: 0-3 which x, 4 which type,
// 5-7 activation, 8 bias, 9 residual.
//
// variants: TOKENS=32; TOKENS=64; TOKENS=32 BLOCK0=16; TOKENS=32 BLOCK0=10 BLOCK1=17; BLOCK0=2; BLOCK0=3 ALIGN0=2; BLOCK0=3; BLOCK0=4 ALIGN0=2; BLOCK0=5 ALIGN0=4; BLOCK0=6 ALIGN0=2; BLOCK0=7 ALIGN0=8; BLOCK0=8 ALIGN0=4; BLOCK0=9 ALIGN0=2; BLOCK0=11; BLOCK0=12 ALIGN0=2; BLOCK0=13 ALIGN0=2; BLOCK0=14 ALIGN0=8; BLOCK0=15 ALIGN0=1
#ifndef TOKENS
#define TOKENS 16
#endif
// Times 16 rows of weights that a simdgroup has.
#ifndef TALL
#define TALL 2
#endif
// Chunks of columns on their way.
#ifndef AHEAD
#define AHEAD 2
#endif
#ifndef SIMDGROUPS
#define SIMDGROUPS 8
#endif
// Threadgroups on a core at a time, for NVIDIA's compiler.
#ifndef RESIDENT
#define RESIDENT 1
#endif
#ifndef BLOCK0
#define BLOCK0 1
#endif
#ifndef ALIGN0
#define ALIGN0 16
#endif
#ifndef BLOCK1
#define BLOCK1 (-1)
#endif
#ifndef ALIGN1
#define ALIGN1 16
#endif
#include "linear_few.h"

constant uint ROWS0 [[function_constant(0)]];
constant uint ROWS1 [[function_constant(1)]];
constant uint ROWS2 [[function_constant(2)]];
constant uint ROWS3 [[function_constant(3)]];
constant uint ROWS4 [[function_constant(4)]];
constant uint ROWS5 [[function_constant(5)]];
constant uint ROWS6 [[function_constant(6)]];
constant uint ROWS7 [[function_constant(7)]];
constant uint COLS0 [[function_constant(8)]];
constant uint COLS1 [[function_constant(9)]];
constant uint COLS2 [[function_constant(10)]];
constant uint COLS3 [[function_constant(11)]];
constant uint COLS4 [[function_constant(12)]];
constant uint COLS5 [[function_constant(13)]];
constant uint COLS6 [[function_constant(14)]];
constant uint COLS7 [[function_constant(15)]];
constant uint HOW0 [[function_constant(16)]];
constant uint HOW1 [[function_constant(17)]];
constant uint HOW2 [[function_constant(18)]];
constant uint HOW3 [[function_constant(19)]];
constant uint HOW4 [[function_constant(20)]];
constant uint HOW5 [[function_constant(21)]];
constant uint HOW6 [[function_constant(22)]];
constant uint HOW7 [[function_constant(23)]];
constant uint PARTS [[function_constant(24)]];
constant uint SPLIT [[function_constant(25)]]; // simdgroups that share rows
constant uint OUTPUTS [[function_constant(26)]]; // tokens are outputs of the step

// Part n, if the tile of weight rows is among its own; else goes on to the next part.
#define TAKE(n, ROWS, COLS, HOW)                                                                               \
    if (!found && n < PARTS) {                                                                                 \
        const uint tiles_of = (ROWS + group_rows - 1) / group_rows;                                                    \
        found = tile < tiles_of;                                                                               \
        if (found) {                                                                                           \
            part.w = w##n;                                                                                     \
            part.bias = b##n;                                                                                  \
            part.out = out##n;                                                                                 \
            part.rows = ROWS;                                                                                  \
            part.cols = COLS;                                                                                  \
            part.how = HOW;                                                                                    \
        } else {                                                                                               \
            tile -= tiles_of;                                                                                  \
        }                                                                                                      \
    }

kernel void linear_few(device const uchar* x0 [[buffer(0)]], // [T] packed rows
                       device const uchar* x1 [[buffer(1)]],
                       device const uchar* x2 [[buffer(2)]],
                       device const uchar* x3 [[buffer(3)]],
                       device const uchar* x4 [[buffer(4)]],
                       device const uchar* x5 [[buffer(5)]],
                       device const uchar* w0 [[buffer(6)]], // [ROWS, COLS]
                       device const uchar* w1 [[buffer(7)]],
                       device const uchar* w2 [[buffer(8)]],
                       device const uchar* w3 [[buffer(9)]],
                       device const uchar* w4 [[buffer(10)]],
                       device const uchar* w5 [[buffer(11)]],
                       device const uchar* w6 [[buffer(12)]],
                       device const uchar* w7 [[buffer(13)]],
                       device const float* b0 [[buffer(14)]], // [ROWS]
                       device const float* b1 [[buffer(15)]],
                       device const float* b2 [[buffer(16)]],
                       device const float* b3 [[buffer(17)]],
                       device const float* b4 [[buffer(18)]],
                       device const float* b5 [[buffer(19)]],
                       device const float* b6 [[buffer(20)]],
                       device const float* b7 [[buffer(21)]],
                       device float* out0 [[buffer(22)]], // [T, ROWS]
                       device float* out1 [[buffer(23)]],
                       device float* out2 [[buffer(24)]],
                       device float* out3 [[buffer(25)]],
                       device float* out4 [[buffer(26)]],
                       device float* out5 [[buffer(27)]],
                       device float* out6 [[buffer(28)]],
                       device float* out7 [[buffer(29)]],
                       device const uint* step [[buffer(30)]],
                       uint2 group [[threadgroup_position_in_grid]],
                       uint lane [[thread_index_in_simdgroup]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint4 memory[MEMORY_SIZE];
    Part part;
    const uint group_rows = 16 * TALL * SIMDGROUPS / SPLIT;
    uint tile = group.y;
    bool found = false;
    TAKE(0, ROWS0, COLS0, HOW0)
    TAKE(1, ROWS1, COLS1, HOW1)
    TAKE(2, ROWS2, COLS2, HOW2)
    TAKE(3, ROWS3, COLS3, HOW3)
    TAKE(4, ROWS4, COLS4, HOW4)
    TAKE(5, ROWS5, COLS5, HOW5)
    TAKE(6, ROWS6, COLS6, HOW6)
    TAKE(7, ROWS7, COLS7, HOW7)
    const uint which = part.how & HOW_X;
    part.x = which == 0 ? x0 : which == 1 ? x1 : which == 2 ? x2 : which == 3 ? x3 : which == 4 ? x4 : x5;

    Place at;
    at.lane = lane;
    at.simdgroup = simdgroup;
    at.split = SPLIT;
    at.slice = simdgroup % SPLIT;
    at.token = group.x * TOKENS;
    at.row = tile * group_rows + simdgroup / SPLIT * (16 * TALL);
    threadgroup tile_t* own = (threadgroup tile_t*)memory + simdgroup * (OWN_BYTES / 2);
    at.outputs = OUTPUTS != 0;
    TileC sums[SUMS];
    if (part.how & HOW_SECOND) {
#if BLOCK1 >= 0
        multiply<BLOCK1, ALIGN1>(part, at, step, own, sums);
#endif
    } else {
        multiply<BLOCK0, ALIGN0>(part, at, step, own, sums);
    }
    finish(part, at, token_count(at, step), b1, (threadgroup float*)memory, sums);
}
