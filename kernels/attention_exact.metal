// Causal attention of many rows, tiled, with the softmax carried along:
//
//     out[t, h] = sum_j softmax_j(cap(q[t, h] . k_j * SCALE)) v_j,   p - WINDOW < j <= p
//
// p is row t's position, k_j and v_j are those of head h / (HEADS / KV_HEADS) in the cache;
// WINDOW 0 means all positions; cap(s) = CAP tanh(s / CAP), or s where CAP is 0. q, out: [T, HEADS * N], N a multiple of 8.
//
// Reference: crates/ingot-plan/src/ops/attention.rs.
//
// Grid: (tiles of QUERIES rows of one sequence, and some to spare; heads). Keys come in blocks of
// KEYS that begin at multiples of KEYS, and a block that a row does not see leaves its sums as they
// are: the result is the same however a prompt is cut. Blocks are processed COLUMNS columns at a
// time; the next ones are on their way meanwhile.
//
// On a tile of queries there are two simdgroups for each 16 rows: they share the keys of a block
// in q k^T and the columns in p v. Four neighbouring threads look after a row. All in f32;
// attention_tile.metal does the same faster in half.
//
// variants: HEAD=64; CACHE=1; CACHE=2; HEAD=256 COLUMNS=32 QUERIES=16
// N, rounded up to a multiple of COLUMNS, which is a multiple of 32.
#ifndef HEAD
#define HEAD 128
#endif
#ifndef COLUMNS
#define COLUMNS 64
#endif
#ifndef QUERIES
#define QUERIES 32
#endif
#include "attention_exact.h"

kernel void attention_exact(device const float* q [[buffer(0)]],
                            device const uchar* cache [[buffer(1)]],
                            device const uint* step [[buffer(2)]],
                            device float* out [[buffer(3)]],
                            uint2 group [[threadgroup_position_in_grid]],
                            uint2 groups [[threadgroups_per_grid]],
                            uint thread_index [[thread_index_in_threadgroup]],
                            uint lane [[thread_index_in_simdgroup]],
                            uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 query_tile[QUERIES * Q_STRIDE / 4];
    threadgroup float4 block_tile[KEYS * B_STRIDE / 4];
    threadgroup float4 score_tile[QUERIES * S_STRIDE / 4];
    threadgroup float diagonal[QUERIES * 8];
    threadgroup float* queries = (threadgroup float*)query_tile;
    threadgroup float* block = (threadgroup float*)block_tile;
    threadgroup float* scores = (threadgroup float*)score_tile;
    grid_dependency_wait();

    // Later tiles see more keys: they begin first.
    const Work work = find_work(step, groups.x - 1 - group.x);
    const uint kv_head = group.y / (HEADS / KV_HEADS), part = thread_index % 4;
    Row row;
    row.index = thread_index / 4;
    row.position = work.position + row.index;
    row.exists = row.index < work.rows;
    load_queries(q, work, row, group.y, part, queries);
    for (uint i = thread_index; i < QUERIES * 8; i += THREADS) diagonal[i] = 0.0f;

    const uint strip = simdgroup / 2, side = simdgroup % 2;
    TileC sums[HEAD / 32];
#pragma unroll
    for (uint i = 0; i < HEAD / 32; i++) tile_zero(sums[i]);
    float largest = MINUS_INFINITY, total = 0.0f; // of the row; the total of this thread's keys

    Source source;
    source.cache = cache;
    source.column = kv_head * N;
    source.limit = work.position + work.rows; // no key from here on is seen
    const uint last = work.rows > 0 ? (source.limit - 1) / KEYS : 0;
    uint b = first_seen(work.position) / KEYS;
    const uint end = work.rows > 0 ? last + 1 : b;
    Pieces pieces;
    if (b < end) {
        source.page = page_of(step, work.sequence, b * KEYS);
        load_pieces(pieces, source, 0, b * KEYS, 0, thread_index);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (; b < end; b++) {
        TileC score;
        tile_zero(score);
#pragma unroll
        for (uint c = 0; c < HEAD; c += COLUMNS) {
            store_pieces(pieces, block, thread_index);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const bool more = c + COLUMNS < HEAD;
            load_pieces(pieces, source, more ? 0 : 1, b * KEYS, more ? c + COLUMNS : 0, thread_index);
#pragma unroll
            for (uint k = 0; k < COLUMNS; k += 16) {
                TileA rows;
                TileB keys;
                tile_load_a(rows, queries + 16 * strip * Q_STRIDE + c + k, Q_STRIDE, lane);
                tile_load_b(keys, block + 16 * side * B_STRIDE + k, B_STRIDE, lane);
                tile_multiply(score, rows, keys);
            }
            if (!more) tile_store(score, scores + 16 * strip * S_STRIDE + 16 * side, S_STRIDE, lane);
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        const float shrink = soften(row, b * KEYS, part, scores, largest, total);
        if (part == 0) diagonal[9 * (row.index % 8) + row.index / 8 * 64] = shrink;
        const uint page = b + 1 < end ? page_of(step, work.sequence, (b + 1) * KEYS) : 0;
#pragma unroll
        for (uint c = 0; c < HEAD; c += COLUMNS) {
            store_pieces(pieces, block, thread_index);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            if (c + COLUMNS < HEAD) {
                load_pieces(pieces, source, 1, b * KEYS, c + COLUMNS, thread_index);
            } else if (b + 1 < end) {
                source.page = page;
                load_pieces(pieces, source, 0, (b + 1) * KEYS, 0, thread_index);
            }
            add_values(sums, c, strip, side, scores, block, diagonal, lane);
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
    }

    total += simd_shuffle_xor(total, 1);
    total += simd_shuffle_xor(total, 2);
    if (part == 0) diagonal[9 * (row.index % 8) + row.index / 8 * 64] = row.exists ? 1.0f / total : 0.0f;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    // The scores are over: each simdgroup has 16 by 16 of their memory to itself.
    threadgroup float* own = scores + simdgroup * 256;
#pragma unroll
    for (uint i = 0; i < HEAD / 32; i++) {
        const uint column = i / (COLUMNS / 32) * COLUMNS + side * (COLUMNS / 2) + i % (COLUMNS / 32) * 16;
        tile_scale_rows(sums[i], diagonal + 128 * strip, lane);
        tile_store(sums[i], own, 16, lane);
        simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
        for (uint e = lane; e < 64; e += 32) {
            const uint r = 16 * strip + e / 4, at = column + e % 4 * 4;
            if (r < work.rows && at < N) {
                const ulong to = ulong(work.first + r) * (HEADS * N) + group.y * N + at;
                *(device float4*)(out + to) = ((threadgroup const float4*)own)[e];
            }
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }
}
