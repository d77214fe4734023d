// Which rows a threadgroup of attention on matrix units looks after: QUERIES consecutive
// ones of a sequence, and what they see.
#pragma once
#include "activation.h"
#include "cache.h"
#include "step.h"

#define MINUS_INFINITY as_type<float>(0xff800000u)

constant uint N [[function_constant(0)]];
constant uint HEADS [[function_constant(1)]];
constant uint KV_HEADS [[function_constant(2)]];
constant uint WINDOW [[function_constant(3)]];
constant float SCALE [[function_constant(4)]];
constant float CAP [[function_constant(5)]];

/// Consecutive rows of one sequence; none of them for tiles to spare.
struct Work {
    uint sequence, first, rows, position;
};

inline Work find_work(device const uint* step, uint tile) {
    Work work;
    work.sequence = 0;
    work.first = 0;
    work.rows = 0;
    work.position = 0;
    const uint sequences = step_sequences(step);
    for (uint s = 0; s < sequences; s++) {
        const uint rows = sequence_rows(step, s), tiles = (rows + QUERIES - 1) / QUERIES;
        if (tile < tiles) {
            work.sequence = s;
            work.first = sequence_first_row(step, s) + tile * QUERIES;
            work.rows = min(rows - tile * QUERIES, uint(QUERIES));
            work.position = sequence_past(step, s) + tile * QUERIES;
            break;
        }
        tile -= tiles;
    }
    return work;
}

/// First position that a query at `position` sees.
inline uint first_seen(uint position) { return WINDOW > 0 && position >= WINDOW ? position - WINDOW + 1 : 0; }
