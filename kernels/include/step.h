// The step buffer: what differs from step to step. Written by the host before a
// step, and by `advance` between the steps of a window. The twin of these
// offsets is crates/ingot-gpu/src/step_buffer.rs.
//
// Words (u32):
//   0 rows T   1 outputs O   2 sequences S   3 pages per sequence in the table
//   4 where the page table begins, [S][pages per sequence]: page
//   8 entries [T][8], of which each is three: row i, output i, sequence i
//     0 the row's token   1 position   2 sequence
//     3 the output's row
//     4 the sequence's first row   5 rows   6 past   7 slot
// There are no more outputs and sequences than rows. That entries begin at a known place saves a
// load that others would wait for.
#pragma once
#include "ingot.h"

#define PAGE 64 // positions in a page of keys and values

inline uint step_rows(device const uint* step) { return step[0]; }
inline uint step_outputs(device const uint* step) { return step[1]; }
inline uint step_sequences(device const uint* step) { return step[2]; }

/// Where word `word` of entry i is.
inline uint step_entry(uint i, uint word) { return 8 + 8 * i + word; }

inline uint row_token(device const uint* step, uint t) { return step[step_entry(t, 0)]; }
inline uint row_position(device const uint* step, uint t) { return step[step_entry(t, 1)]; }
inline uint row_sequence(device const uint* step, uint t) { return step[step_entry(t, 2)]; }

inline uint output_row(device const uint* step, uint o) { return step[step_entry(o, 3)]; }

inline uint sequence_first_row(device const uint* step, uint s) { return step[step_entry(s, 4)]; }
inline uint sequence_rows(device const uint* step, uint s) { return step[step_entry(s, 5)]; }
inline uint sequence_past(device const uint* step, uint s) { return step[step_entry(s, 6)]; }
inline uint sequence_slot(device const uint* step, uint s) { return step[step_entry(s, 7)]; }

/// The page that holds a position of a sequence.
inline uint page_of(device const uint* step, uint s, uint position) {
    return step[step[4] + s * step[3] + position / PAGE];
}

/// Which rows a sequence has, and its slot. No launch of a window changes that, so where launches overlap
/// it may be read before `grid_dependency_wait()`; STEP_IS_EARLY says so.
struct SequencePlace {
    uint first_row, rows, slot;
};
inline SequencePlace sequence_place(device const uint* step, uint s) {
    return {sequence_first_row(step, s), sequence_rows(step, s), sequence_slot(step, s)};
}
#if defined(INGOT_CUDA)
#define STEP_IS_EARLY 1
#else
#define STEP_IS_EARLY 0
#endif

/// Brings what will be read after `grid_dependency_wait()` into the second-level cache, `count` values
/// by so many threads, where that can be done.
inline void prefetch_values(device const float* values, uint count, uint thread_index, uint threads) {
#if defined(INGOT_CUDA)
    for (uint i = 8 * thread_index; i < count; i += 8 * threads) prefetch(values + i);
#endif
}
