// One of the products that a launch of linear_tile.metal or linear_few.metal does.
#pragma once
#include "ingot.h"

// Bits of Part::how; the twin is crates/ingot-gpu/src/launches/linear_tile.rs.
#define HOW_X 15
#define HOW_SECOND 16
#define HOW_ACTIVATION(how) (((how) >> 5) & 7)
#define HOW_BIAS 256
#define HOW_RESIDUAL 512

struct Part {
    device const uchar* x;      // [T] packed rows
    device const uchar* w;      // [rows, cols]
    device const uchar* second; // with GLU, the same of a second matrix
    device const float* bias;   // [rows]
    device float* out;          // [T, rows]
    uint rows, cols, how;
};
