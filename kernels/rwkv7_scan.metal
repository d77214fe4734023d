// RWKV-7's time mix of many rows, second part: the state from chunk to chunk, and what each row
// reads of it. Per chunk, see include/rwkv7_chunk.h:
//
//   [u; y] = [P; R] S + [Q; Y]
//   S      = diag(D) S + [b D, c D]^T [u; v]
//
// chunks: [chunks][HEADS][CHUNK_FLOATS]; state: [slots][HEADS][HEAD][HEAD], value channel by key
// channel; y: [T, HEADS * HEAD]. Everything in f32.
//
// Grid: heads, 16 value channels each, x sequences. S is in registers, a simdgroup has 16 of its
// key channels; threadgroup memory has it too, as it was when the chunk began. The next chunk is
// on its way meanwhile.
//
// Reference: crates/ingot-plan/src/ops/wkv7.rs
//
// variants: CHUNKS=1; CHUNKS=2
#include "rwkv7_chunk.h"

#if CHUNKS > 1
#define SIMDGROUPS CHUNKS
#else
#define SIMDGROUPS 2 // one for u, one for y
#endif
#define THREADS (32 * SIMDGROUPS)
// Chunks in threadgroup memory. Two of them are more than other GPUs have room for.
#if defined(INGOT_CUDA)
#define STAGES 2
#else
#define STAGES 1
#endif
#define K_STRIDE (PADDED + TILE_PAD)    // of P and R
#define U_STRIDE (2 * CHUNK + TILE_PAD) // of what S is updated with
#define S_STRIDE (16 + TILE_PAD)        // of S, and of u and v
#define KEYS_SIZE (2 * CHUNK * K_STRIDE)
#define UPDATE_SIZE (PADDED * U_STRIDE)
#define COPIES (CHUNK * PADDED / 2 / THREADS) // of 16 bytes, of a thread, of either

/// A thread's share of the next chunk.
struct Next {
    uint4 keys[COPIES], update[COPIES];
    float4 adds[2], v[2]; // of simdgroups 0 and 1: of 16 rows and columns
    float decay;
};

/// Sends for a chunk.
inline void chunk_begin(thread Next& next, device const float* chunk, threadgroup float* keys,
                        threadgroup float* update, uint first, uint t, uint simdgroup, uint lane) {
#pragma unroll
    for (uint n = 0; n < COPIES; n++) {
        const uint i = t + n * THREADS;
        threadgroup float* to = keys + i / (PADDED / 4) * K_STRIDE + i % (PADDED / 4) * 4;
        tile_copy_begin(true, (threadgroup uint4*)to, (device const uint4*)(chunk + CHUNK_KEYS) + i, next.keys[n]);
        to = update + i / (CHUNK / 2) * U_STRIDE + i % (CHUNK / 2) * 4;
        tile_copy_begin(true, (threadgroup uint4*)to, (device const uint4*)(chunk + CHUNK_UPDATE) + i, next.update[n]);
    }
    tile_copies_end();
#pragma unroll
    for (uint e = 0; e < 2; e++) {
        const uint row = (lane + 32 * e) / 4, column = first + lane % 4 * 4;
        const uint side = min(simdgroup, 1u);
        next.adds[e] = *(device const float4*)(chunk + CHUNK_ADDS + (CHUNK * side + row) * PADDED + column);
        next.v[e] = *(device const float4*)(chunk + CHUNK_V + row * PADDED + column);
    }
    next.decay = t < PADDED ? chunk[CHUNK_DECAY + t] : 0.0f;
}

inline void chunk_end(thread const Next& next, threadgroup float* keys, threadgroup float* update, uint t) {
#pragma unroll
    for (uint n = 0; n < COPIES; n++) {
        const uint i = t + n * THREADS;
        tile_copy_end((threadgroup uint4*)(keys + i / (PADDED / 4) * K_STRIDE + i % (PADDED / 4) * 4), next.keys[n]);
        tile_copy_end((threadgroup uint4*)(update + i / (CHUNK / 2) * U_STRIDE + i % (CHUNK / 2) * 4), next.update[n]);
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
    threadgroup float4 keys4[STAGES * KEYS_SIZE / 4];
    threadgroup float4 update4[STAGES * UPDATE_SIZE / 4];
    threadgroup float4 state4[PADDED * S_STRIDE / 4];
    threadgroup float4 sums4[2 * CHUNK * S_STRIDE / 4];
    threadgroup float diagonal[PADDED * 8];
    threadgroup float* keys = (threadgroup float*)keys4;
    threadgroup float* update = (threadgroup float*)update4;
    threadgroup float* before = (threadgroup float*)state4; // [PADDED][S_STRIDE], key by value
    threadgroup float* sums = (threadgroup float*)sums4;    // [2 CHUNK][S_STRIDE], u over v
    grid_dependency_wait();

    const uint head = group.x / (PADDED / 16), first = group.x % (PADDED / 16) * 16; // of the values
    uint chunk_index = 0;
    for (uint s = 0; s < group.y; s++) chunk_index += sequence_chunks(step, s);
    device const float* from = chunks + (ulong(chunk_index) * HEADS + head) * CHUNK_FLOATS;
    Next next;
    chunk_begin(next, from, keys, update, first, thread_index, simdgroup, lane);
    device float* own_state = state + (ulong(sequence_slot(step, group.y)) * HEADS + head) * (HEAD * HEAD);
    for (uint i = thread_index; i < 16 * PADDED; i += THREADS) {
        const uint value = first + i / PADDED, key = i % PADDED;
        before[key * S_STRIDE + i / PADDED] = value < HEAD && key < HEAD ? own_state[value * HEAD + key] : 0.0f;
    }
    for (uint i = thread_index; i < PADDED * 8; i += THREADS) diagonal[i] = 0.0f;
    chunk_end(next, keys, update, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const bool has_keys = 16 * simdgroup < PADDED;
    threadgroup float* own_before = before + (has_keys ? 16 * simdgroup * S_STRIDE : 0);
    TileC s;
    tile_load(s, own_before, S_STRIDE, lane);

    const uint count = sequence_chunks(step, group.y);
    uint stage = 0;
    for (uint c = 0; c < count; c++) {
        const Next now = next;
        const uint next_stage = STAGES == 2 ? 1 - stage : 0;
        tile_copies_wait(0);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (c + 1 < count) {
            from += HEADS * CHUNK_FLOATS;
            chunk_begin(next, from, keys + next_stage * KEYS_SIZE, update + next_stage * UPDATE_SIZE, first,
                        thread_index, simdgroup, lane);
        }
        if (thread_index < PADDED) {
            diagonal[thread_index / 16 * 128 + thread_index % 16 / 8 * 64 + 9 * (thread_index % 8)] = now.decay;
        }
        if (simdgroup < 2) {
            TileC sum;
            tile_zero(sum);
#pragma unroll
            for (uint k = 0; k < PADDED; k += 16) {
                TileA rows;
                TileB columns;
                tile_load_a(rows, keys + stage * KEYS_SIZE + simdgroup * CHUNK * K_STRIDE + k, K_STRIDE, lane);
                tile_load_b_plain(columns, before + k * S_STRIDE, S_STRIDE, lane);
                tile_multiply(sum, rows, columns);
            }
            threadgroup float* own = sums + simdgroup * CHUNK * S_STRIDE;
            tile_store(sum, own, S_STRIDE, lane);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            const Chunk chunk = sequence_chunk(step, group.y, c);
#pragma unroll
            for (uint e = 0; e < 2; e++) {
                const uint row = (lane + 32 * e) / 4, column = lane % 4 * 4;
                threadgroup float4* at = (threadgroup float4*)(own + row * S_STRIDE + column);
                float4 four = *at;
                four = four + now.adds[e];
                *at = simdgroup == 0 ? four : now.v[e];
                if (simdgroup == 1 && row < chunk.rows && first + column < HEAD) {
                    device float* to = y + ulong(chunk.first + row) * (HEADS * HEAD) + head * HEAD + first + column;
                    *(device float4*)to = four;
                }
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (has_keys) {
            tile_scale_rows(s, diagonal + 128 * simdgroup, lane);
#pragma unroll
            for (uint k = 0; k < 2 * CHUNK; k += 16) {
                TileA rows;
                TileB columns;
                tile_load_a(rows, update + stage * UPDATE_SIZE + 16 * simdgroup * U_STRIDE + k, U_STRIDE, lane);
                tile_load_b_plain(columns, sums + k * S_STRIDE, S_STRIDE, lane);
                tile_multiply(s, rows, columns);
            }
            tile_store(s, own_before, S_STRIDE, lane);
        }
        if (STAGES == 1) threadgroup_barrier(mem_flags::mem_threadgroup);
        if (c + 1 < count) {
            chunk_end(next, keys + next_stage * KEYS_SIZE, update + next_stage * UPDATE_SIZE, thread_index);
        }
        stage = next_stage;
    }

    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < 16 * PADDED; i += THREADS) {
        const uint value = first + i / PADDED, key = i % PADDED;
        if (value < HEAD && key < HEAD) own_state[value * HEAD + key] = before[key * S_STRIDE + i / PADDED];
    }
}
