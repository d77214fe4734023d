// The pieces of tiled attention, see attention_tile.metal.
#pragma once
// Keys of a block; divides PAGE. Other GPUs have 32 KiB of threadgroup memory, and scores
// pass through it.
#if defined(INGOT_CUDA) && CACHE == 0 && HEAD <= 128
#define KEYS 64
#elif HEAD <= 128
#define KEYS 32
#else
#define KEYS 16
#endif
#define SIMDGROUPS (QUERIES / 16)
#define THREADS (32 * SIMDGROUPS)
#define INGOT_THREADS THREADS // so that NVIDIA's compiler gives each enough registers
#include "attention_block.h"
#include "tile_rows.h"
// What simdgroups exchange values of a C with, where they have to.
#if defined(__METAL_VERSION__)
#define OWN_SIZE (SIMDGROUPS * TILE_ROWS_OWN)
#else
#define OWN_SIZE 1
#endif

#define LOG2_E 1.4426950f

/// The queries of a simdgroup: rows of a tile, and of this lane's two of them the position,
/// what their products are to be multiplied by, and the softmax so far. A lane's share of `total`
/// is of the keys that it looked at.
struct Rows {
    TileA q[HEAD / 16];
    uint first, last; // positions of the simdgroup's rows
    uint position[2];
    float scale[2], largest[2], total[2];
};

/// Takes 16 queries of a head, zeros for those that do not exist.
inline void load_rows(thread Rows& rows, device const float* q, thread const Work& work, uint head, uint strip,
                      threadgroup float* own, uint lane) {
    float v[HEAD / 2], most[2] = {0.0f, 0.0f};
#pragma unroll
    for (uint r = 0; r < 2; r++) {
        const uint row = 16 * strip + lane / 4 + 8 * r;
        device const float* x = q + ulong(work.first + min(row, work.rows)) * (HEADS * N) + head * N;
#pragma unroll
        for (uint c = 0; c < HEAD / 8; c++) {
            const uint column = 8 * c + 2 * (lane % 4);
            const bool ok = row < work.rows && (HEAD == N || column < N);
            const float2 two = load_stream_if(ok, (device const float2*)(x + (ok ? column : 0)));
            v[8 * (c / 2) + 4 * (c % 2) + 2 * r] = two.x;
            v[8 * (c / 2) + 4 * (c % 2) + 2 * r + 1] = two.y;
            most[r] = max(most[r], max(fabs(two.x), fabs(two.y)));
        }
        most[r] = max(most[r], simd_shuffle_xor(most[r], 1));
        most[r] = max(most[r], simd_shuffle_xor(most[r], 2));
        // A negative SCALE turns queries around: the largest product is the largest score.
        const float scale = SCALE < 0.0f ? -pack_scale(most[r]) : pack_scale(most[r]);
#pragma unroll
        for (uint c = 0; c < HEAD / 8; c++) {
            v[8 * (c / 2) + 4 * (c % 2) + 2 * r] *= scale;
            v[8 * (c / 2) + 4 * (c % 2) + 2 * r + 1] *= scale;
        }
        rows.scale[r] = SCALE / scale * (CAP == 0.0f ? LOG2_E : 1.0f);
        rows.position[r] = work.position + row;
        rows.largest[r] = MINUS_INFINITY;
        rows.total[r] = 0.0f;
    }
    rows.first = work.position + 16 * strip;
    rows.last = rows.first + 15;
#pragma unroll
    for (uint k = 0; k < HEAD / 16; k++) tile_rows_a(rows.q[k], v + 8 * k, own, lane);
}

/// A simdgroup's products with the keys of a block, a lane's values of it.
inline void multiply_keys(thread float* v, thread const Rows& rows, BlockAt keys, threadgroup float* own, uint lane) {
    TileC scores[KEYS / 16];
#pragma unroll
    for (uint n = 0; n < KEYS / 16; n++) tile_zero(scores[n]);
#pragma unroll
    for (uint k = 0; k < HEAD / 16; k++) {
#pragma unroll
        for (uint n = 0; n < KEYS / 16; n++) {
            TileB b;
            block_take_keys(b, keys, 16 * n, 2 * k, lane);
            tile_multiply(scores[n], rows.q[k], b);
        }
    }
#pragma unroll
    for (uint n = 0; n < KEYS / 16; n++) tile_rows(scores[n], v + 8 * n, own, lane);
}

#define KEY(i) ((i) / 4 * 8 + 2 * (lane % 4) + (i) % 2) // of a lane's value i

/// Products of the block that begins at `position` become weights exp(score - largest); `shrink`
/// is what was summed before is to be multiplied by.
inline void soften(thread float* v, thread float* shrink, thread Rows& rows, uint position,
                   threadgroup const float* key_scales, uint lane) {
    // Whether every row sees every key.
    const bool all = position + KEYS - 1 <= rows.first && position >= first_seen(rows.last);
    float most[2] = {rows.largest[0], rows.largest[1]};
#pragma unroll
    for (uint i = 0; i < KEYS / 2; i++) {
        const uint r = i / 2 % 2;
#if CACHE != 0
        v[i] *= key_scales[KEY(i)];
#endif
        if (CAP != 0.0f) v[i] = soft_capped(v[i] * rows.scale[r], CAP) * LOG2_E;
    }
    if (!all) {
#pragma unroll
        for (uint i = 0; i < KEYS / 2; i++) {
            const uint at = rows.position[i / 2 % 2], j = position + KEY(i);
            if (j > at || j < first_seen(at)) v[i] = MINUS_INFINITY;
        }
    }
#pragma unroll
    for (uint i = 0; i < KEYS / 2; i++) most[i / 2 % 2] = max(most[i / 2 % 2], v[i]);
    float factor[2], from[2]; // a score is v times the factor, in powers of two
#pragma unroll
    for (uint r = 0; r < 2; r++) {
        most[r] = max(most[r], simd_shuffle_xor(most[r], 1));
        most[r] = max(most[r], simd_shuffle_xor(most[r], 2));
        factor[r] = CAP == 0.0f ? rows.scale[r] : 1.0f;
        from[r] = most[r] == MINUS_INFINITY ? 0.0f : most[r] * factor[r];
        // Equal also where nothing was seen so far.
        shrink[r] = most[r] == rows.largest[r] ? 1.0f : exp2((rows.largest[r] - most[r]) * factor[r]);
        rows.largest[r] = most[r];
        rows.total[r] *= shrink[r];
    }
#pragma unroll
    for (uint i = 0; i < KEYS / 2; i++) {
        const uint r = i / 2 % 2;
        v[i] = exp2(fma(v[i], factor[r], -from[r]));
        rows.total[r] += v[i];
    }
}

/// sums += weights * values
inline void add_values(thread TileC* sums, thread const float* weights, BlockAt values, threadgroup float* own,
                       uint lane) {
    TileA a[KEYS / 16];
#pragma unroll
    for (uint k = 0; k < KEYS / 16; k++) tile_rows_a(a[k], weights + 8 * k, own, lane);
#pragma unroll
    for (uint k = 0; k < KEYS / 16; k++) {
#pragma unroll
        for (uint n = 0; n < HEAD / 16; n++) {
            TileB b;
            block_take_values(b, values, 16 * k, 2 * n, lane);
            tile_multiply(sums[n], a[k], b);
        }
    }
}

/// Waits for the block that is on its way.
inline void block_wait() {
    tile_copies_wait(0);
    threadgroup_barrier(mem_flags::mem_threadgroup);
}
