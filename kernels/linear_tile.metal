// Products of many rows with up to eight matrices, on matrix units:
//
//     out_p[t, r] = act_p(sum_k x_p[t, k] w_p[r, k] + bias_p[r]) (+ residual[t, r])
//
// x_p: packed rows (include/packed.h), [T, COLS_p]; w_p: [ROWS_p, COLS_p] of a type of block;
// bias_p: [ROWS_p]; out_p: [T, ROWS_p]. A residual [T, ROWS_0], which only a single part has, is
// buffer b1. What is not used may be any memory.
//
// Reference: crates/ingot-plan/src/ops/linear.rs.
//
// Grid: (tiles of TILE_T tokens, tiles of TILE_R weight rows, part after part): neighbours share
// weights. For each 32 rows of a tile there are two simdgroups, which share its tokens. Weights are
// unpacked to half (to float with TILE_F32) once per tile, 32 columns at a time; the next ones are
// on their way meanwhile. Sums are f32, in ascending order of k whatever the tile's size is.
// With WIDE tiles are 128 weight rows, packed rows come as include/wide.h says, and SPLIT threadgroups
// (in z) share the columns of a tile: see include/linear_wide.h. GLU, which is for WIDE with one part: 1
// or 2, out = gated(w0 x) * (w1 x), where w1 is a second matrix like w0.
//
// A launch knows up to two types of blocks; HOW_p has bits: 0-3 which x, 4 which type,
// 5-7 activation, 8 bias, 9 residual.
//
// variants: WIDE=1 INGOT_SHARED=132096 TILE_T=128 TILE_F32=1 BLOCK0=16; WIDE=1 INGOT_SHARED=132096 TILE_T=256; WIDE=1 INGOT_SHARED=132096 TILE_T=256 SPLIT=2; WIDE=1 INGOT_SHARED=66560 TILE_T=128 BLOCK0=10 BLOCK1=12 ALIGN1=2; WIDE=1 INGOT_SHARED=132096 TILE_T=256 GLU=1 BLOCK0=16; WIDE=1 INGOT_SHARED=66560 TILE_T=128 BLOCK0=3 ALIGN0=2
// variants: TILE_T=64; TILE_T=128 RESIDENT=3; TILE_T=128 TILE_R=128; TILE_T=128 TILE_R=128 RESIDENT=2; TILE_F32=1; BLOCK0=0; BLOCK0=2; BLOCK0=3 ALIGN0=2; BLOCK0=3; BLOCK0=3 TILE_F32=1; BLOCK0=3 TILE_T=128 TILE_R=128 RESIDENT=2; BLOCK0=4 ALIGN0=2; BLOCK0=5 ALIGN0=4; BLOCK0=6 ALIGN0=2; BLOCK0=7 ALIGN0=8; BLOCK0=8 ALIGN0=4; BLOCK0=9 ALIGN0=2; BLOCK0=10; BLOCK0=11; BLOCK0=12 ALIGN0=2; BLOCK0=13 ALIGN0=2; BLOCK0=14 ALIGN0=8; BLOCK0=15 ALIGN0=1; BLOCK0=16 TILE_T=128 TILE_R=128; BLOCK0=16 TILE_F32=1; BLOCK0=17; BLOCK0=10 BLOCK1=12 ALIGN1=2 TILE_T=128 TILE_R=128 RESIDENT=2
#ifndef TILE_T
#define TILE_T 32
#endif
#ifndef TILE_R
#define TILE_R 64
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
#ifndef WIDE
#define WIDE 0
#endif
#if WIDE
#define LOAD_16_INTO load_lines_into // what lanes leave of a line is what they load next
#endif
#include "activation.h"
#include "packed.h"
#include "step.h"
#include "tile_blocks.h"
#include "tile_part.h"
#include "tile_weights.h"
#if WIDE
#include "linear_wide.h"
#else
#include "linear_tile.h"
#endif

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
constant uint FIRST [[function_constant(25)]]; // tile of rows of the launch

// Part n, if the tile of weight rows is among its own; else goes on to the next part.
#define TAKE(n, ROWS, COLS, HOW)                                                                               \
    if (!found && n < PARTS) {                                                                                 \
        const uint tiles_of = (ROWS + ROWS_OF_TILE - 1) / ROWS_OF_TILE;                                                    \
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

kernel void linear_tile(device const uchar* x0 [[buffer(0)]], // [T] packed rows
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
                        uint3 group [[threadgroup_position_in_grid]],
                        uint lane [[thread_index_in_simdgroup]],
                        uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint4 tiles[TILES_SIZE];
    Part part;
    uint tile = group.y + FIRST;
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
    at.token = group.x * TILE_T;
#if WIDE
    part.second = w1;
    at.quarter = lane % 4;
    at.row = tile * ROWS_OF_TILE + simdgroup * ROWS_OF_SIMDGROUP + lane / 4;
    if (part.how & HOW_SECOND) {
#if BLOCK1 >= 0
        wide<BLOCK1, ALIGN1>(part, at, group.z, step, b1, tiles);
#endif
    } else {
        wide<BLOCK0, ALIGN0>(part, at, group.z, step, b1, tiles);
    }
#else
    at.row = tile * ROWS_OF_TILE;
    TileC sums[SUMS];
    if (part.how & HOW_SECOND) {
#if BLOCK1 >= 0
        multiply<Weights<BLOCK1, ALIGN1>>(part, at, step, (threadgroup tile_t*)tiles, sums);
#endif
    } else {
        multiply<Weights<BLOCK0, ALIGN0>>(part, at, step, (threadgroup tile_t*)tiles, sums);
    }
    finish(part, at, step_rows(step), b1, (threadgroup float*)tiles, sums);
#endif
}
