// Causal attention of many rows, tiled, with the softmax carried along:
//
//     out[t, h] = sum_j softmax_j(cap(q[t, h] . k_j * SCALE)) v_j,   p - WINDOW < j <= p
//
// p is row t's position, k_j and v_j are those of head h / (HEADS / KV_HEADS) in the cache;
// WINDOW 0 means all positions; cap(s) = CAP tanh(s / CAP), or s where CAP is 0. q, out: [T, HEADS * N], N a multiple of 8.
//
// Reference: crates/ingot-plan/src/ops/attention.rs.
//
// Grid: (heads; tiles of QUERIES rows of one sequence, and some to spare). Keys come in blocks of
// KEYS that begin at multiples of KEYS, and a block that a row does not see leaves its sums as they
// are: the result is the same however a prompt is cut.
//
// A simdgroup has 16 queries to itself, in registers for the whole loop, as are its scores, which
// become weights in place, and its sums. Threadgroup memory holds a block of keys and one of values:
// while one is multiplied, the other is on its way. Queries, and keys that are not stored as half, are
// brought into the range of half by powers of two. The softmax is f32; values of v beyond the range of
// half are cut off. attention_exact.metal does the same in f32.
//
// variants: HEAD=32; HEAD=64; HEAD=96; HEAD=256; CACHE=1; CACHE=2; HEAD=64 CACHE=2; HEAD=256 CACHE=1
// N, rounded up to a multiple of 32.
#ifndef HEAD
#define HEAD 128
#endif
#ifndef QUERIES
#define QUERIES 64
#endif
#include "attention_tile.h"

kernel void attention_tile(device const float* q [[buffer(0)]],
                           device const uchar* cache [[buffer(1)]],
                           device const uint* step [[buffer(2)]],
                           device float* out [[buffer(3)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 groups [[threadgroups_per_grid]],
                           uint thread_index [[thread_index_in_threadgroup]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint4 tiles[2 * KEYS * HEAD / 8];
    threadgroup float key_scales[KEYS];
    threadgroup float own_values[OWN_SIZE];
    threadgroup tile_t* keys = (threadgroup tile_t*)tiles;
    threadgroup tile_t* values = keys + KEYS * HEAD;
    threadgroup float* own = own_values + simdgroup * (OWN_SIZE / SIMDGROUPS);
    grid_dependency_wait();

    // Later tiles see more keys. They begin first, and the shortest after them, so that a core
    // that has two of them has a long and a short one.
    const uint half_way = (groups.y + 1) / 2;
    const uint tile = group.y < half_way ? groups.y - 1 - group.y : group.y - half_way;
    const Work work = find_work(step, tile);
    Source source;
    source.cache = cache;
    source.column = group.x / (HEADS / KV_HEADS) * N;
    source.limit = work.position + work.rows; // no key from here on is seen
    uint position = first_seen(work.position) / KEYS * KEYS;
    const uint end = work.rows > 0 ? source.limit : position;
    Pieces pieces;
    if (position < end) {
        source.page = page_of(step, work.sequence, position);
        load_scales(source, position, thread_index, key_scales);
        block_begin(pieces, keys, source, 0, position, thread_index);
    }
    Rows rows;
    load_rows(rows, q, work, group.x, simdgroup, own, lane);
    const BlockAt keys_at = block_at_keys(keys, lane), values_at = block_at_values(values, lane);
    TileC sums[HEAD / 16];
#pragma unroll
    for (uint n = 0; n < HEAD / 16; n++) tile_zero(sums[n]);
    if (CACHE != 0) threadgroup_barrier(mem_flags::mem_threadgroup);
    if (position < end) block_end(pieces, keys, key_scales, true, thread_index);

    for (; position < end; position += KEYS) {
        block_wait();
        block_begin(pieces, values, source, 1, position, thread_index);
        const bool more = position + KEYS < end;
        const uint next_page = more ? page_of(step, work.sequence, position + KEYS) : 0;
        float v[KEYS / 2], shrink[2];
        multiply_keys(v, rows, keys_at, own, lane);
        soften(v, shrink, rows, position, key_scales, lane);
        block_end(pieces, values, key_scales, false, thread_index);
        block_wait();
        if (more) {
            source.page = next_page;
            load_scales(source, position + KEYS, thread_index, key_scales);
            block_begin(pieces, keys, source, 0, position + KEYS, thread_index);
        }
        tile_rows_scaled(sums, HEAD / 16, shrink[0], shrink[1], own, lane);
        add_values(sums, v, values_at, own, lane);
        if (CACHE != 0) threadgroup_barrier(mem_flags::mem_threadgroup);
        if (more) block_end(pieces, keys, key_scales, true, thread_index);
    }

#pragma unroll
    for (uint r = 0; r < 2; r++) {
        rows.total[r] += simd_shuffle_xor(rows.total[r], 1);
        rows.total[r] += simd_shuffle_xor(rows.total[r], 2);
        rows.total[r] = 1.0f / rows.total[r];
    }
#pragma unroll
    for (uint n = 0; n < HEAD / 16; n++) {
        float v[8];
        tile_rows(sums[n], v, own, lane);
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            const uint row = 16 * simdgroup + lane / 4 + i % 2 * 8, column = 16 * n + i / 2 * 8 + 2 * (lane % 4);
            if (row < work.rows && column < N) {
                const float factor = rows.total[i % 2];
                const ulong to = ulong(work.first + row) * (HEADS * N) + group.x * N + column;
                *(device float2*)(out + to) = float2(v[2 * i] * factor, v[2 * i + 1] * factor);
            }
        }
    }
}
