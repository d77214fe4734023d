// Between the steps of a window: the sampled token of each sequence becomes its next input.
//
// Every sequence has one row, which is its output. For a sequence that goes on: the ring gets the token,
// the row gets it as input, position and past grow by one, history and counts take the token in and let
// the one leave that falls out of the penalties' window, and the next random number is due. A sequence
// whose token is an end token goes no further: its row stays as it is and is computed again in vain, and
// the ring gets marks.
//
// ring[entry * S + s] = (log-probability, token + 1), the token 0xffffffff after the end: as one store, so
// that the host, which watches for the second word to become other than 0, finds the first as well.
// Threads: 32, one to a sequence. Grid: S / 32.
// variants: PENALTIES=1
#include "ingot.h"
#include "sampling.h"
#include "step.h"

constant uint COUNTS [[function_constant(0)]];  // length of a row of counts
constant uint HISTORY [[function_constant(1)]]; // length of a row of history
constant uint ENTRIES [[function_constant(2)]]; // of the ring

kernel void advance(device const uint* result [[buffer(0)]], // [O, 2], as `sample` leaves it
                    device const uint* ends [[buffer(1)]],
                    device uint* step [[buffer(2)]],
                    device uint* params [[buffer(3)]],    // [S, SAMPLE_WORDS]
                    device ushort* counts [[buffer(4)]],  // [tables, COUNTS]
                    device uint* history [[buffer(5)]],   // [tables, HISTORY]
                    device uint2* ring [[buffer(6)]],     // [ENTRIES, S]
                    uint group [[threadgroup_position_in_grid]],
                    uint lane [[thread_index_in_simdgroup]]) {
    grid_dependency_wait();
    const uint s = group * 32 + lane, sequences = step_sequences(step);
    if (s < sequences) {
        device uint* p = params + s * SAMPLE_WORDS;
        const uint token = result[2 * s], entry = p[SAMPLE_WRITTEN];
        const bool ended = (p[SAMPLE_FLAGS] & SAMPLE_ENDED) != 0;
        if (entry < ENTRIES) {
            const uint mark = ended ? 0xffffffffu : token + 1;
            ring[ulong(entry) * sequences + s] = uint2(result[2 * s + 1], mark);
            p[SAMPLE_WRITTEN] = entry + 1;
        }
        bool ends_here = false;
        const uint list = p[SAMPLE_ENDS_AT];
        for (uint i = 0; i < ends[list]; i++) {
            ends_here = ends_here || ends[list + 1 + i] == token;
        }
        if (!ended) {
#if PENALTIES
            const ulong table = p[SAMPLE_TABLE];
            const uint window = p[SAMPLE_WINDOW], filled = p[SAMPLE_FILLED], cursor = p[SAMPLE_CURSOR];
            device ushort* row_counts = counts + table * COUNTS;
            device uint* place = history + table * HISTORY + cursor;
            const uint oldest = *place, fallen = row_counts[oldest];
            if (window != 0 && window != ALL_TOKENS) {
                if (filled >= window) {
                    row_counts[oldest] = ushort(fallen - 1);
                }
                *place = token;
                p[SAMPLE_CURSOR] = cursor + 1 < window ? cursor + 1 : 0;
                p[SAMPLE_FILLED] = min(filled + 1, window);
            }
            if (window != 0) {
                const uint count = row_counts[token];
                row_counts[token] = ushort(min(count + 1, 65535u));
            }
#endif
            p[SAMPLE_COUNTER] = p[SAMPLE_COUNTER] + (as_type<float>(p[SAMPLE_TEMPERATURE]) > 0.0f ? 1 : 0);
            if (ends_here) {
                p[SAMPLE_FLAGS] = p[SAMPLE_FLAGS] | SAMPLE_ENDED;
            } else {
                const uint row = sequence_first_row(step, s);
                step[step_entry(row, 0)] = token;
                step[step_entry(row, 1)] = row_position(step, row) + 1;
                step[step_entry(s, 6)] = sequence_past(step, s) + 1;
            }
        }
    }
}
