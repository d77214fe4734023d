// RWKV-7's time mix of many rows, second part: the state from chunk to chunk, and what each row
// reads of it. Per chunk, see include/rwkv7_chunk.h:
//
//   [u; y] = [P; R] S + [Q; Y]
//   S      = diag(D) S + [b D, c D]^T [u; v]
//
// chunks: [chunks][HEADS][CHUNK_FLOATS]; state: [slots][HEADS][HEAD][HEAD], value channel by key
// channel; y: [T, HEADS * HEAD]. Everything in f32.
//
// Grid: heads, VALUES of their value channels each, x sequences. Between chunks S is in threadgroup
// memory, keys by values. A simdgroup has 16 rows and 16 columns of u or y, and 16 key channels of
// the new S. What a chunk needs is asked for as soon as its place is free.
//
// Reference: crates/ingot-plan/src/ops/wkv7.rs
//
// variants: CHUNKS=1; CHUNKS=2
#include "rwkv7_chunk.h"

#if CHUNKS > 1
#define VALUES 32
#else
#define VALUES 16
#endif
#define SIMDGROUPS (VALUES / 8) // for u and y, two rows of tiles; there are no more key channels
#define THREADS (32 * SIMDGROUPS)
#define K_STRIDE (PADDED + TILE_PAD)    // of P and R
#define K_SIZE (2 * CHUNK * K_STRIDE)
// How many P and R there is room for: two of them are more than other GPUs have.
#if defined(INGOT_CUDA)
#define STAGES 2
#else
#define STAGES 1
#endif
#define U_STRIDE (2 * CHUNK + TILE_PAD) // of what S is updated with
#define S_STRIDE (VALUES + TILE_PAD)    // of S, and of u and v
#define COPIES (CHUNK * PADDED / 2 / THREADS) // of 16 bytes of P and R, of a thread
#define UPDATES (CHUNK / 4)                   // of 16 bytes of 16 rows of the update, of a lane
#define TILE_ROW(e) ((lane + 32 * (e)) / 4)   // of 16 by 16 values, in fours
#define TILE_COLUMN (lane % 4 * 4)

/// A thread's share of what is on its way to threadgroup memory.
struct Next {
    uint4 keys[COPIES], update[UPDATES];
};
/// Its share of the rest of a chunk.
struct Rest {
    float4 adds[2], v[2];
    float decay;
};

/// `adds` and `v`: where 16 by 16 values of them begin.
inline void load_rest(thread Rest& rest, device const float* chunk, uint adds, uint v, uint t, uint lane) {
#pragma unroll
    for (uint e = 0; e < 2; e++) {
        rest.adds[e] = *(device const float4*)(chunk + adds + TILE_ROW(e) * PADDED + TILE_COLUMN);
        rest.v[e] = *(device const float4*)(chunk + v + TILE_ROW(e) * PADDED + TILE_COLUMN);
    }
    rest.decay = t < PADDED ? chunk[CHUNK_DECAY + t] : 0.0f;
}
inline threadgroup uint4* keys_to(threadgroup float* keys, uint i) {
    return (threadgroup uint4*)(keys + i / (PADDED / 4) * K_STRIDE + i % (PADDED / 4) * 4);
}
inline void keys_begin(thread Next& next, device const float* chunk, threadgroup float* keys, uint t) {
#pragma unroll
    for (uint n = 0; n < COPIES; n++) {
        const uint i = t + n * THREADS;
        tile_copy_begin(true, keys_to(keys, i), (device const uint4*)(chunk + CHUNK_KEYS) + i, next.keys[n]);
    }
    tile_copies_end();
}
/// The same, or nothing, which counts as a copy.
inline void keys_begin_if(bool ok, thread Next& next, device const float* chunk, threadgroup float* keys, uint t) {
    if (ok) keys_begin(next, chunk, keys, t);
    if (!ok) tile_copies_end();
}
inline threadgroup uint4* update_to(threadgroup float* update, uint i) {
    return (threadgroup uint4*)(update + i / (CHUNK / 2) * U_STRIDE + i % (CHUNK / 2) * 4);
}
/// 16 rows of the update, which only one simdgroup looks at.
inline void update_begin(thread Next& next, device const float* rows, threadgroup float* update, uint lane) {
#pragma unroll
    for (uint n = 0; n < UPDATES; n++) {
        const uint i = lane + 32 * n;
        tile_copy_begin(true, update_to(update, i), (device const uint4*)rows + i, next.update[n]);
    }
    tile_copies_end();
}
inline void chunk_end(thread const Next& next, threadgroup float* keys, threadgroup float* update, bool updates,
                      uint t, uint lane) {
#pragma unroll
    for (uint n = 0; n < COPIES; n++) tile_copy_end(keys_to(keys, t + n * THREADS), next.keys[n]);
#pragma unroll
    for (uint n = 0; n < UPDATES; n++) {
        if (updates) tile_copy_end(update_to(update, lane + 32 * n), next.update[n]);
    }
}

kernel void rwkv7_scan(device const float* chunks [[buffer(0)]],
                       device const uint* step [[buffer(1)]],
                       device float* state [[buffer(2)]],
                       device float* y [[buffer(3)]],
                       uint2 group [[threadgroup_position_in_grid]],
                       uint thread_index [[thread_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 keys4[STAGES * K_SIZE / 4];
    threadgroup float4 update4[PADDED * U_STRIDE / 4];
    threadgroup float4 state4[PADDED * S_STRIDE / 4];
    threadgroup float4 sums4[2 * CHUNK * S_STRIDE / 4];
    threadgroup float decays[PADDED];
    threadgroup float* keys = (threadgroup float*)keys4;
    threadgroup float* before = (threadgroup float*)state4; // [PADDED][S_STRIDE], key by value
    threadgroup float* sums = (threadgroup float*)sums4;    // [2 CHUNK][S_STRIDE], u over v
    // This simdgroup's 16 key channels, if there are so many; its rows of u or y, and columns.
    const bool updates = 16 * simdgroup < PADDED;
    const uint first_key = updates ? 16 * simdgroup : 0, side = simdgroup % 2, column = simdgroup / 2 * 16;
    threadgroup float* update = (threadgroup float*)update4 + first_key * U_STRIDE;
    threadgroup float* own_state = before + first_key * S_STRIDE;
    threadgroup float* own = sums + side * CHUNK * S_STRIDE + column;
    grid_dependency_wait();

    const uint head = group.x / (PADDED / VALUES), first = group.x % (PADDED / VALUES) * VALUES;
    uint chunk_index = 0;
    for (uint s = 0; s < group.y; s++) chunk_index += sequence_chunks(step, s);
    const uint count = sequence_chunks(step, group.y);
    device const float* from = chunks + (ulong(chunk_index) * HEADS + head) * CHUNK_FLOATS;
    const uint adds_at = CHUNK_ADDS + side * CHUNK * PADDED + first + column, v_at = CHUNK_V + first + column;
    const uint earlier = sequence_past(step, group.y) % CHUNK; // rows of the first chunk
    const uint first_row = sequence_first_row(step, group.y), rows = sequence_rows(step, group.y);
    Rest ahead;
    load_rest(ahead, from, adds_at, v_at, thread_index, lane);
    Next next;
    keys_begin(next, from, keys, thread_index);
    if (updates) update_begin(next, from + CHUNK_UPDATE + first_key * 2 * CHUNK, update, lane);
    if (!updates) tile_copies_end();
    device float* slot = state + (ulong(sequence_slot(step, group.y)) * HEADS + head) * (HEAD * HEAD);
    for (uint i = thread_index; i < VALUES * PADDED; i += THREADS) {
        const uint value = first + i / PADDED, key = i % PADDED;
        before[key * S_STRIDE + i / PADDED] = value < HEAD && key < HEAD ? slot[value * HEAD + key] : 0.0f;
    }
    chunk_end(next, keys, update, updates, thread_index, lane);

    uint stage = 0; // of P and R
    for (uint c = 0; c < count; c++) {
        const bool more = c + 1 < count;
        const uint next_stage = STAGES == 2 ? K_SIZE - stage : 0;
        // The update may still be on its way.
        tile_copies_wait(1);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const Rest now = ahead;
        from += HEADS * CHUNK_FLOATS;
        if (more) load_rest(ahead, from, adds_at, v_at, thread_index, lane);
        if (STAGES == 2) keys_begin_if(more, next, from, keys + next_stage, thread_index);

        TileC sum;
        tile_zero(sum);
#pragma unroll
        for (uint k = 0; k < PADDED; k += 16) {
            TileA rows;
            TileB columns;
            tile_load_a(rows, keys + stage + side * CHUNK * K_STRIDE + k, K_STRIDE, lane);
            tile_load_b_plain(columns, before + k * S_STRIDE + column, S_STRIDE, lane);
            tile_multiply(sum, rows, columns);
        }
        tile_store(sum, own, S_STRIDE, lane);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        // Row 0 of the first chunk is the first one that is new.
        const uint begin = c == 0 ? 0 : c * CHUNK - earlier, have = min(rows - begin, c == 0 ? CHUNK - earlier : CHUNK);
#pragma unroll
        for (uint e = 0; e < 2; e++) {
            threadgroup float4* at = (threadgroup float4*)(own + TILE_ROW(e) * S_STRIDE + TILE_COLUMN);
            float4 four = *at;
            four = four + now.adds[e];
            *at = side == 0 ? four : now.v[e];
            const uint value = first + column + TILE_COLUMN;
            if (side == 1 && TILE_ROW(e) < have && value < HEAD) {
                device float* to = y + ulong(first_row + begin + TILE_ROW(e)) * (HEADS * HEAD) + head * HEAD + value;
                *(device float4*)to = four;
            }
        }
        if (thread_index < PADDED) decays[thread_index] = now.decay;
        tile_copies_wait(STAGES - 1);
        threadgroup_barrier(mem_flags::mem_threadgroup);

        if (STAGES == 1) keys_begin_if(more, next, from, keys, thread_index);
        if (updates) {
#pragma unroll
            for (uint i = lane; i < 4 * VALUES; i += 32) {
                const uint row = i / (VALUES / 4);
                threadgroup float4* at = (threadgroup float4*)(own_state + row * S_STRIDE + i % (VALUES / 4) * 4);
                float4 four = *at;
                *at = four * float4(decays[first_key + row]);
            }
            simdgroup_barrier(mem_flags::mem_threadgroup);
            TileC s[VALUES / 16];
#pragma unroll
            for (uint n = 0; n < VALUES / 16; n++) tile_load(s[n], own_state + 16 * n, S_STRIDE, lane);
#pragma unroll
            for (uint k = 0; k < 2 * CHUNK; k += 16) {
                TileA rows;
                tile_load_a(rows, update + k, U_STRIDE, lane);
#pragma unroll
                for (uint n = 0; n < VALUES / 16; n++) {
                    TileB columns;
                    tile_load_b_plain(columns, sums + k * S_STRIDE + 16 * n, S_STRIDE, lane);
                    tile_multiply(s[n], rows, columns);
                }
            }
            simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
            for (uint n = 0; n < VALUES / 16; n++) tile_store(s[n], own_state + 16 * n, S_STRIDE, lane);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            if (more) update_begin(next, from + CHUNK_UPDATE + first_key * 2 * CHUNK, update, lane);
        }
        if (!more || !updates) tile_copies_end();
        if (more) chunk_end(next, keys + next_stage, update, updates, thread_index, lane);
        stage = next_stage;
    }

    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < VALUES * PADDED; i += THREADS) {
        const uint value = first + i / PADDED, key = i % PADDED;
        if (value < HEAD && key < HEAD) slot[value * HEAD + key] = before[key * S_STRIDE + i / PADDED];
    }
}
