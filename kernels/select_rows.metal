// out[o] = x[output row o]. Reference: crates/ingot-plan/src/ops/select.rs.
// Threads: 256, each four values, a threadgroup apart. Grid: (WIDTH / 1024, O).
#include "ingot.h"
#include "step.h"

constant uint WIDTH [[function_constant(0)]];

kernel void select_rows(device const float* x [[buffer(0)]], // [T, WIDTH]
                   device const uint* step [[buffer(1)]],
                   device float* out [[buffer(2)]], // [O, WIDTH]
                   uint2 group [[threadgroup_position_in_grid]],
                   uint thread_index [[thread_index_in_threadgroup]]) {
    grid_dependency_wait();
    const uint o = group.y;
    if (o < step_outputs(step)) {
        const ulong from = ulong(output_row(step, o)) * WIDTH;
#pragma unroll
        for (uint e = 0; e < 4; e++) {
            const uint i = group.x * 1024 + e * 256 + thread_index;
            if (i < WIDTH) {
                out[ulong(o) * WIDTH + i] = x[from + i];
            }
        }
    }
}
