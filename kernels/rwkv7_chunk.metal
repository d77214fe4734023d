// RWKV-7's time mix of many rows, first part: from the projections to what the recurrence needs
// of each chunk of rows, which does not depend on the state. The formulas are those of
// include/rwkv7_chunk.h and rwkv7_mix.metal.
//
// r, w, k, v, a, v_first, by: [T, HEADS * HEAD]; k_k, k_a, r_k: [HEADS * HEAD]; chunks:
// [chunks][HEADS][CHUNK_FLOATS]; bonus: [T, HEADS * HEAD], (sum r key r_k) v. Everything in f32.
//
// Grid: heads x chunks of all sequences, and some to spare. A simdgroup prepares some of the rows;
// then each thread looks after a key channel's decays; then each simdgroup multiplies two of the
// vectors of all rows with each other; then a thread solves for a column of P and R, or of Q and Y.
//
// References: crates/ingot-plan/src/ops/{blend,rwkv_keys,wkv7,bonus}.rs
//
// variants: BLEND=1; CHUNKS=1 BLEND=1; CHUNKS=2
#include "rwkv7_chunk.h"

#ifndef BLEND
#define BLEND 0
#endif
#define SIMDGROUPS 4
#define THREADS (32 * SIMDGROUPS)
#define INGOT_GROUPS 4 // so that NVIDIA's compiler leaves room for others
#define STRIDE (PADDED + TILE_PAD)
#define V_STRIDE (CHUNK * STRIDE)          // of vectors, [CHUNK][STRIDE] each
#define P_STRIDE (CHUNK + TILE_PAD)        // of a product's rows
#define PRODUCT_AT(i) ((i) * CHUNK * P_STRIDE)

/// Row `t` of a product up to column t, the rest undefined.
inline void product_row(thread float* row, threadgroup const float* product, uint t) {
#pragma unroll
    for (uint s = 0; s <= t; s += 4) {
        const float4 four = *(threadgroup const float4*)(product + t * P_STRIDE + s);
        row[s] = four.x;
        row[s + 1] = four.y;
        row[s + 2] = four.z;
        row[s + 3] = four.w;
    }
}

/// A lane's channels of one row as they come.
struct Row {
    float r[PER_LANE], w[PER_LANE], k[PER_LANE], v[PER_LANE], a[PER_LANE], v_first[PER_LANE], by[PER_LANE];
};

kernel void rwkv7_chunk(device const float* r [[buffer(0)]],
                        device const float* w [[buffer(1)]],
                        device const float* k [[buffer(2)]],
                        device const float* v [[buffer(3)]],
                        device const float* a [[buffer(4)]],
                        device const float* v_first [[buffer(5)]],
                        device const float* by [[buffer(6)]],
                        device const float* k_k [[buffer(7)]],
                        device const float* k_a [[buffer(8)]],
                        device const float* r_k [[buffer(9)]],
                        device const uint* step [[buffer(10)]],
                        device float* chunks [[buffer(11)]],
                        device float* bonus [[buffer(12)]],
                        uint2 group [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]],
                        uint lane [[thread_index_in_simdgroup]],
                        uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 vectors4[6 * V_STRIDE / 4];
    threadgroup float4 products4[4 * CHUNK * P_STRIDE / 4];
    threadgroup float* removals = (threadgroup float*)vectors4; // later k'
    threadgroup float* queries = removals + V_STRIDE;           // later r'
    threadgroup float* replaces = queries + V_STRIDE;           // later b
    threadgroup float* keys = replaces + V_STRIDE;              // later c
    threadgroup float* values = keys + V_STRIDE;
    threadgroup float* rates = values + V_STRIDE; // of decays, which are exp(-rate)
    threadgroup float* products = (threadgroup float*)products4;
    float kk[PER_LANE], ka[PER_LANE], rk[PER_LANE];
    head_load(kk, k_k + group.x * HEAD, lane, HEAD);
    head_load(ka, k_a + group.x * HEAD, lane, HEAD);
    head_load(rk, r_k + group.x * HEAD, lane, HEAD);
    grid_dependency_wait();

    const Chunk chunk = find_chunk(step, group.y);
    Row rows[CHUNK / SIMDGROUPS];
#pragma unroll
    for (uint n = 0; n < CHUNK / SIMDGROUPS; n++) {
        // Where there is no row, another one: no branch between the loads.
        const uint row = chunk.first + min(simdgroup + n * SIMDGROUPS, max(chunk.rows, 1u) - 1);
        const ulong at = ulong(row) * (HEADS * HEAD) + group.x * HEAD;
        head_load(rows[n].r, r + at, lane, HEAD);
        head_load(rows[n].w, w + at, lane, HEAD);
        head_load(rows[n].k, k + at, lane, HEAD);
        head_load(rows[n].v, v + at, lane, HEAD);
        head_load(rows[n].a, a + at, lane, HEAD);
        if (BLEND) {
            head_load(rows[n].v_first, v_first + at, lane, HEAD);
            head_load(rows[n].by, by + at, lane, HEAD);
        }
    }
#pragma unroll
    for (uint n = 0; n < CHUNK / SIMDGROUPS; n++) {
        thread Row& x = rows[n];
        const uint row = simdgroup + n * SIMDGROUPS;
        const bool have = row < chunk.rows;
        float removal[PER_LANE], replace[PER_LANE], key[PER_LANE], rate[PER_LANE];
        for (uint j = 0; j < PER_LANE; j++) {
            x.r[j] = have ? x.r[j] : 0.0f;
            x.k[j] = have ? x.k[j] : 0.0f;
        }
        rwkv_removal(removal, x.k, kk);
        for (uint j = 0; j < PER_LANE; j++) {
            rate[j] = have ? rwkv_decay_rate(x.w[j]) : 0.0f;
            replace[j] = removal[j] * x.a[j];
            key[j] = rwkv_key(x.k[j], x.a[j], ka[j]);
            if (BLEND) x.v[j] = fma(x.v_first[j] - x.v[j], x.by[j], x.v[j]);
            x.v[j] = have ? x.v[j] : 0.0f;
        }
        vector_store(removal, removals + row * STRIDE, lane);
        vector_store(x.r, queries + row * STRIDE, lane);
        vector_store(replace, replaces + row * STRIDE, lane);
        vector_store(key, keys + row * STRIDE, lane);
        vector_store(x.v, values + row * STRIDE, lane);
        vector_store(rate, rates + row * STRIDE, lane);
        const float own = rwkv_own(x.r, key, rk);
        for (uint j = 0; j < PER_LANE; j++) x.v[j] *= own;
        if (have) head_store(x.v, bonus + ulong(chunk.first + row) * (HEADS * HEAD) + group.x * HEAD, lane, HEAD);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // A thread looks after some rows of a key channel.
    const uint channel = thread_index % PADDED, parts = min(uint(THREADS / PADDED), uint(CHUNK));
    float rate = 0.0f; // of the decay up to a row
#pragma unroll
    for (uint row = 0; row < CHUNK; row++) {
        const uint i = row * STRIDE + channel;
        const float before = rate;
        rate += rates[i];
        if (row % parts == thread_index / PADDED) {
            const float decay = exp(-rate), grown = exp(rate);
            removals[i] *= exp(-before);
            queries[i] *= decay;
            replaces[i] *= grown;
            keys[i] *= grown;
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // k' b, k' c, r' b, r' c
    TileC product;
    tile_zero(product);
#pragma unroll
    for (uint c = 0; c < PADDED; c += 16) {
        TileA rows;
        TileB columns;
        tile_load_a(rows, (simdgroup < 2 ? removals : queries) + c, STRIDE, lane);
        tile_load_b(columns, (simdgroup % 2 == 0 ? replaces : keys) + c, STRIDE, lane);
        tile_multiply(product, rows, columns);
    }
    tile_store(product, products + PRODUCT_AT(simdgroup), P_STRIDE, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    if (thread_index >= 2 * PADDED) return;
    device float* to = chunks + (ulong(group.y) * HEADS + group.x) * CHUNK_FLOATS;
    const bool is_key = thread_index < PADDED;
    const uint column = thread_index % PADDED;
    float u[CHUNK], v0[CHUNK], row[CHUNK];
#pragma unroll
    for (uint t = 0; t < CHUNK; t++) v0[t] = is_key ? 0.0f : values[t * STRIDE + column];
    device float* sums = to + (is_key ? CHUNK_KEYS : CHUNK_ADDS) + column;
#pragma unroll
    for (uint t = 0; t < CHUNK; t++) {
        float sum = is_key ? removals[t * STRIDE + column] : 0.0f;
        product_row(row, products + PRODUCT_AT(0), t);
#pragma unroll
        for (uint s = 0; s < t; s++) sum = fma(row[s], u[s], sum);
        if (!is_key) {
            product_row(row, products + PRODUCT_AT(1), t);
#pragma unroll
            for (uint s = 0; s < t; s++) sum = fma(row[s], v0[s], sum);
        }
        u[t] = -sum;
        sums[t * PADDED] = u[t];
    }
#pragma unroll
    for (uint t = 0; t < CHUNK; t++) {
        float sum = is_key ? queries[t * STRIDE + column] : 0.0f;
        product_row(row, products + PRODUCT_AT(2), t);
#pragma unroll
        for (uint s = 0; s <= t; s++) sum = fma(row[s], u[s], sum);
        if (!is_key) {
            product_row(row, products + PRODUCT_AT(3), t);
#pragma unroll
            for (uint s = 0; s <= t; s++) sum = fma(row[s], v0[s], sum);
        }
        sums[(CHUNK + t) * PADDED] = sum;
    }
    if (is_key) {
        const float decay = exp(-rate);
        device float4* update = (device float4*)(to + CHUNK_UPDATE + column * (2 * CHUNK));
#pragma unroll
        for (uint t = 0; t < CHUNK; t += 4) {
            threadgroup const float* b = replaces + t * STRIDE + column;
            threadgroup const float* c = keys + t * STRIDE + column;
            update[t / 4] = float4(b[0], b[STRIDE], b[2 * STRIDE], b[3 * STRIDE]) * float4(decay);
            update[(CHUNK + t) / 4] = float4(c[0], c[STRIDE], c[2 * STRIDE], c[3 * STRIDE]) * float4(decay);
        }
        to[CHUNK_DECAY + column] = decay;
    } else {
#pragma unroll
        for (uint t = 0; t < CHUNK; t++) to[CHUNK_V + t * PADDED + column] = v0[t];
    }
}
