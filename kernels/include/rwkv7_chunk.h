// RWKV-7's recurrence over chunks of rows instead of row by row. A sequence's rows are a chunk
// when their positions differ in the lowest four bits only: it begins with the state S, keys by
// values here, and for its rows t, with D_t the product of the decays up to row t,
//
//   k'_t = removal_t D_{t-1},  r'_t = r_t D_t,  b_t = removal_t a_t / D_t,  c_t = key_t / D_t
//   u_t  = -(k'_t S + sum_{s<t} (k'_t b_s) u_s + (k'_t c_s) v_s)           what is taken away
//   y_t  =   r'_t S + sum_{s<=t} (r'_t b_s) u_s + (r'_t c_s) v_s
//   S    = diag(D) S + sum_s (b_s D)^T u_s + (c_s D)^T v_s                 D that of the last row
//
// u is linear in S: u = P S + Q, and so y = R S + Y. rwkv7_chunk.metal makes P, Q, R, Y of all
// chunks at once; rwkv7_scan.metal goes from chunk to chunk with two products each;
// rwkv7_finish.metal makes outputs of y. A decay is at least exp(-exp(-1/2)), so 1 / D is
// no more than 16400. Everything in f32.
//
// Rows that a chunk does not have are zero, and their decay is 1: they change nothing. The result
// is the same however a prompt is cut at positions that are multiples of CHUNK.
#pragma once
#define TILE_F32 1
#include "rwkv7.h"
#include "step.h"
#include "tile_blocks.h"

#define CHUNK 16 // rows

// What is kept of a head of a chunk, in floats.
#define CHUNK_KEYS 0                      // [2 CHUNK][PADDED]: P over R
#define CHUNK_UPDATE (2 * CHUNK * PADDED) // [PADDED][2 CHUNK]: (b_s D)^T beside (c_s D)^T
#define CHUNK_ADDS (4 * CHUNK * PADDED)   // [2 CHUNK][PADDED]: Q over Y
#define CHUNK_V (6 * CHUNK * PADDED)      // [CHUNK][PADDED]
#define CHUNK_DECAY (7 * CHUNK * PADDED)  // [PADDED]: D
#define CHUNK_FLOATS (7 * CHUNK * PADDED + PADDED)

constant uint HEADS [[function_constant(0)]];
constant uint HEAD [[function_constant(1)]];

/// Consecutive rows of the step; none for chunks to spare.
struct Chunk {
    uint first, rows;
};

inline uint sequence_chunks(device const uint* step, uint s) {
    return (sequence_past(step, s) % CHUNK + sequence_rows(step, s) + CHUNK - 1) / CHUNK;
}

/// Chunk i of sequence s, which has it.
inline Chunk sequence_chunk(device const uint* step, uint s, uint i) {
    const uint before = sequence_past(step, s) % CHUNK; // rows of the first chunk that came earlier
    const uint first = i == 0 ? 0 : i * CHUNK - before;
    Chunk chunk;
    chunk.first = sequence_first_row(step, s) + first;
    chunk.rows = min(sequence_rows(step, s), (i + 1) * CHUNK - before) - first;
    return chunk;
}

/// Chunk i of all sequences of the step.
inline Chunk find_chunk(device const uint* step, uint i) {
    Chunk chunk;
    chunk.first = 0;
    chunk.rows = 0;
    const uint sequences = step_sequences(step);
    for (uint s = 0; s < sequences; s++) {
        const uint chunks = sequence_chunks(step, s);
        if (i < chunks) return sequence_chunk(step, s, i);
        i -= chunks;
    }
    return chunk;
}
