// The step buffer: what differs from step to step. Written by the host before a
// step, and by `advance` between the steps of a window. The twin of these
// offsets is crates/ingot-gpu/src/step_buffer.rs.
//
// Words (u32):
//   0 rows T   1 outputs O   2 sequences S   3 pages per sequence in the table
//   4 where the row table begins (8)   [T][4]: token, position, sequence, unused
//   5 where the sequence table begins  [S][4]: first row, rows, past, slot
//   6 where the list of outputs begins [O]: row
//   7 where the page table begins      [S][pages per sequence]: page
#pragma once
#include "ingot.h"

#define PAGE 64     // positions in a page of keys and values
#define ROW_TABLE 8 // known, so that a row's entry is read together with the words before

inline uint step_rows(device const uint* step) { return step[0]; }
inline uint step_outputs(device const uint* step) { return step[1]; }
inline uint step_sequences(device const uint* step) { return step[2]; }

inline uint row_token(device const uint* step, uint t) { return step[ROW_TABLE + 4 * t]; }
inline uint row_position(device const uint* step, uint t) { return step[ROW_TABLE + 4 * t + 1]; }
inline uint row_sequence(device const uint* step, uint t) { return step[ROW_TABLE + 4 * t + 2]; }

inline uint sequence_first_row(device const uint* step, uint s) { return step[step[5] + 4 * s]; }
inline uint sequence_rows(device const uint* step, uint s) { return step[step[5] + 4 * s + 1]; }
inline uint sequence_past(device const uint* step, uint s) { return step[step[5] + 4 * s + 2]; }
inline uint sequence_slot(device const uint* step, uint s) { return step[step[5] + 4 * s + 3]; }

inline uint output_row(device const uint* step, uint o) { return step[step[6] + o]; }

/// The page that holds a position of a sequence.
inline uint page_of(device const uint* step, uint s, uint position) {
    return step[step[7] + s * step[3] + position / PAGE];
}
