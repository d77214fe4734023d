// Rows of activations as products of few rows want them, in groups of 16 rows: first the rows'
// factors, f32; then fragment after fragment (few.h), each in the order in which lanes take it, so that
// neighbouring lanes load neighbouring bytes. Fragments 2 i and 2 i + 1 have columns 64 i to
// 64 i + 63: a lane's sixteen neighbours, of which the first has the lower eight. Zeros follow up to a
// multiple of 128 columns. What a factor is says packed.h. The twin of this layout is
// crates/ingot-gpu/src/launches/pack.rs.
#pragma once
#include "tile.h"

#define FEW_COLUMNS 32        // of a fragment
#define PACKED_FEW_STEP 128   // columns
#define PACKED_FEW_FACTORS 64 // bytes
#define PACKED_FEW_BYTES 1024 // of a fragment

inline uint packed_few_values(uint width) {
    return (width + PACKED_FEW_STEP - 1) / PACKED_FEW_STEP * PACKED_FEW_STEP;
}
inline uint packed_few_group(uint width) {
    return PACKED_FEW_FACTORS + packed_few_values(width) / FEW_COLUMNS * PACKED_FEW_BYTES;
}
/// Where row t's factor is, in bytes.
inline ulong packed_few_factor(uint t, uint width) { return ulong(t / 16) * packed_few_group(width) + 4 * (t % 16); }

/// Where values i to i + 3 of row t are, i a multiple of 4.
inline ulong packed_few_place(uint t, uint i, uint width) {
    const uint fragment = i / 64 * 2 + i % 16 / 8, lane = t % 8 * 4 + i % 64 / 16;
    return ulong(t / 16) * packed_few_group(width) + PACKED_FEW_FACTORS + fragment * PACKED_FEW_BYTES
        + t % 16 / 8 * (PACKED_FEW_BYTES / 2) + 16 * lane + i % 8 * TILE_BYTES;
}
