// out[t] = residual[t] + sum over n of weight_n * (down_e hidden[t, n]), e = the n-th
// expert chosen for row t.
//
// Reference: crates/ingot-plan/src/ops/experts.rs.
//
// down [E, WIDTH, HIDDEN], hidden [T, CHOSEN, HIDDEN], choice [T, CHOSEN, 2] (see
// expert_choose), residual and out [T, WIDTH]. Grid: x = threadgroups, each for every
// STRIDE-th set of rows (see linear.h), y = t. Threads: 32 SIMDGROUPS. Precision: as
// linear_vec. Only the chosen experts' weights are read.
//
// A row's hidden values for all n are one input row of CHOSEN * HIDDEN columns; where
// they are rounded, that is done in pieces of MAXCOLS of these.
//
// Options: P0_BLOCK, P0_ALIGN of down; RESIDUAL; those of linear.h.
//
// variants: INPUTS=1 P0_BLOCK=12 P0_ALIGN=4 RESIDUAL=1
#include "linear_part.h"

constant uint WIDTH [[function_constant(0)]];
constant uint HIDDEN [[function_constant(1)]];
constant uint CHOSEN [[function_constant(2)]];
constant uint SPLIT [[function_constant(3)]];
constant uint STRIDE [[function_constant(4)]];

typedef DotOf<P0_BLOCK, P0_ALIGN, INPUTS>::D D;

/// Adds the products with columns first to end of the input row of all n.
inline void add_products(device const uchar* down, device const uint* choice, thread const InputRow& x, uint row,
                         uint first, uint end, thread float* acc, thread const Place& at) {
    float sumsq = 0.0f;
    for (uint n = first / HIDDEN; n < CHOSEN && n * HIDDEN < end; n++) {
        device const uchar* expert = down + ulong(choice[2 * n]) * WIDTH * RowBytes<P0_BLOCK>::of(HIDDEN);
        const Matrix m = {expert, expert, WIDTH, HIDDEN, SPLIT};
        const uint from = max(first, n * HIDDEN) - n * HIDDEN, to = min(end - n * HIDDEN, HIDDEN);
        InputRow mine = x;
        mine.source.x = x.source.x + n * HIDDEN;
        mine.rounded.first = x.rounded.first - n * HIDDEN; // modulo 2^32
        float sum[ROWS];
#pragma unroll
        for (uint r = 0; r < ROWS; r++) sum[r] = 0.0f;
        Stream<D> s;
        const Area area = {row, from, to}, after = {0, 0, 0};
        stream_begin(s, m, area, at);
        stream_run(s, m, area, after, mine, true, sum, sumsq, at);
        const float weight = as_type<float>(choice[2 * n + 1]);
#pragma unroll
        for (uint r = 0; r < ROWS; r++) acc[r] = fma(weight, sum[r], acc[r]);
    }
}

kernel void experts_down(device const uchar* down [[buffer(0)]], device const float* hidden [[buffer(1)]],
                         device const uint* choice [[buffer(2)]], device const float* residual [[buffer(3)]],
                         device float* out [[buffer(4)]], uint2 group [[threadgroup_position_in_grid]],
                         uint sg [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
    threadgroup float sums[SUMS_SIZE];
    threadgroup uint words[WORDS_SIZE];
    threadgroup float scales[SCALES_SIZE];
    grid_dependency_wait();
    const Place at = {sg, lane};
    const ulong t = group.y;
    const uint me = 32 * sg + lane, cols = CHOSEN * HIDDEN, piece = D::STAGED ? min(uint(MAXCOLS), cols) : cols;
    device const float* row_in = hidden + t * cols;
    InputRow x;
    x.source = {row_in, row_in, row_in, 0.0f, 0.0f};
    x.rounded = {words, scales, 0};
    const Matrix m = {down, down, WIDTH, HIDDEN, SPLIT};
    float squares = 0.0f;
    bool rounded = false;
    uint parity = 0;
    for (uint set = group.x; set < sets(m); set += STRIDE, parity ^= 1) {
        float acc[2 * ROWS];
#pragma unroll
        for (uint r = 0; r < 2 * ROWS; r++) acc[r] = 0.0f;
        for (uint first = 0; first < cols; first += piece) {
            const uint end = min(first + piece, cols);
            if (D::STAGED && (!rounded || piece < cols)) {
                if (rounded) threadgroup_barrier(mem_flags::mem_threadgroup); // its last readers are done
                x.rounded.first = first;
                round_row(x.source, x.rounded, end, D::SPACED != 0, squares, me, 32 * SIMDGROUPS);
                threadgroup_barrier(mem_flags::mem_threadgroup);
                rounded = true;
            }
            add_products(down, choice + t * 2 * CHOSEN, x, first_row(m, set, at), first, end, acc, at);
        }
        threadgroup float* mine = sums + parity * (SIMDGROUPS * SUMS);
        put_sums(acc, 0.0f, mine, at);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const uint slots = SIMDGROUPS / SPLIT, row = set * slots * ROWS + me;
        if (me < slots * ROWS && row < WIDTH) {
            const float v = get_sum(mine, me / ROWS * SPLIT, SPLIT, me % ROWS);
#if RESIDUAL
            out[t * WIDTH + row] = residual[t * WIDTH + row] + v;
#else
            out[t * WIDTH + row] = v;
#endif
        }
    }
}
