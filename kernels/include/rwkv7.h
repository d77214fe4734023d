// RWKV-7 per head: what is computed for the channels of one row by one simdgroup,
// and the recurrence over rows in threadgroup memory.
// Meaning: crates/ingot-plan/src/ops/{rwkv_keys,wkv7,bonus}.rs.
//
// A head has `head` channels, a multiple of 8 up to 16 * CHUNKS. Where a simdgroup
// has a row of it, lane l holds the channels l, l + 32..., PER_LANE of them; those
// from `head` on are zero.
//
// Sums of products are written as fma, so that a row comes out the same to the bit
// wherever the compiler puts its code.
#pragma once
#include "ingot.h"

#ifndef CHUNKS
#define CHUNKS 4
#endif

#define HEAD4 (4 * CHUNKS)            // float4 of a padded head
#define PADDED (16 * CHUNKS)          // channels of a padded head
#define PER_LANE ((PADDED + 31) / 32) // channels of a lane
#if CHUNKS < 4
#define BATCH (2 * CHUNKS) // rows that are in threadgroup memory together
#elif CHUNKS <= 8
#define BATCH 8
#else
#define BATCH 4
#endif

// ---- a row's channels in the lanes of a simdgroup

inline void head_load(thread float* x, device const float* p, uint lane, uint head) {
    for (uint j = 0; j < PER_LANE; j++) {
        uint c = lane + 32 * j;
        x[j] = c < head ? p[c] : 0.0f;
    }
}

inline void head_store(thread float* x, device float* p, uint lane, uint head) {
    for (uint j = 0; j < PER_LANE; j++) {
        uint c = lane + 32 * j;
        if (c < head) {
            p[c] = x[j];
        }
    }
}

/// `exp(-1/2) * sigmoid(w)`; the bound keeps exp finite and changes nothing.
inline float rwkv_decay_rate(float w) { return 0.60653066f / (1.0f + exp(min(-w, 80.0f))); }

/// `exp(-exp(-1/2) * sigmoid(w))`
inline float rwkv_decay(float w) { return exp(-rwkv_decay_rate(w)); }

/// `k * (1 + (a - 1) * k_a)`
inline float rwkv_key(float k, float a, float k_a) { return k * fma(a - 1.0f, k_a, 1.0f); }

/// `k * k_k`, divided by its length.
inline void rwkv_removal(thread float* removal, thread float* k, thread float* k_k) {
    float squares = 0.0f;
    for (uint j = 0; j < PER_LANE; j++) {
        removal[j] = k[j] * k_k[j];
        squares = fma(removal[j], removal[j], squares);
    }
    float norm = max(sqrt(simd_sum(squares)), 1e-12f);
    for (uint j = 0; j < PER_LANE; j++) {
        removal[j] = removal[j] / norm;
    }
}

/// `sum r key r_k`
inline float rwkv_own(thread float* r, thread float* key, thread float* r_k) {
    float own = 0.0f;
    for (uint j = 0; j < PER_LANE; j++) {
        own = fma(r[j] * key[j], r_k[j], own);
    }
    return simd_sum(own);
}

/// `(y - mean) / sqrt(var + eps) * weight + bias` over the head. The mean is that of
/// y - y[0], so that it is good where values are much larger than their differences.
inline void head_norm(thread float* y, thread float* weight, thread float* bias, float eps, uint lane, uint head) {
    float first = simd_broadcast(y[0], 0);
    float sum = 0.0f;
    for (uint j = 0; j < PER_LANE; j++) {
        y[j] = lane + 32 * j < head ? y[j] - first : 0.0f;
        sum += y[j];
    }
    float mean = simd_sum(sum) / float(head);
    float squares = 0.0f;
    for (uint j = 0; j < PER_LANE; j++) {
        y[j] = lane + 32 * j < head ? y[j] - mean : 0.0f;
        squares = fma(y[j], y[j], squares);
    }
    float scale = 1.0f / sqrt(simd_sum(squares) / float(head) + eps);
    for (uint j = 0; j < PER_LANE; j++) {
        y[j] = fma(y[j] * scale, weight[j], bias[j]);
    }
}

// ---- the recurrence
//
// The state S [head value channels, head key channels] is spread over 4 * head
// threads: four lanes of a simdgroup hold a value channel's row, CHUNKS float4
// each. Lanes that differ in their lowest three bits read the same key channels,
// so that reads of threadgroup memory are broadcasts.

// The vectors of a row in threadgroup memory, each [BATCH][PADDED].
#define V_DECAY 0
#define V_REMOVAL 1
#define V_REPLACE 2 // removal key times in-context learning rate
#define V_KEY 3
#define V_R 4
#define V_V 5
#define V_Y 6
#define VECTORS 7
#define VECTOR_AT(vector, row) (((vector) * BATCH + (row)) * PADDED)
#define VECTOR4_AT(vector, row) (((vector) * BATCH + (row)) * HEAD4)

/// A row's vector from lanes to threadgroup memory, padding included.
inline void vector_store(thread float* x, threadgroup float* vector, uint lane) {
    for (uint j = 0; j < PER_LANE; j++) {
        uint c = lane + 32 * j;
        if (c < PADDED) {
            vector[c] = x[j];
        }
    }
}

/// And back, the padding made new: nobody writes that of V_Y.
inline void vector_load(thread float* x, threadgroup float* vector, uint lane, uint head) {
    for (uint j = 0; j < PER_LANE; j++) {
        uint c = lane + 32 * j;
        x[j] = c < head ? vector[c] : 0.0f;
    }
}

/// The value channel of a thread, and the first key channel of one of its float4.
inline uint wkv_value(uint lane, uint simdgroup) { return 8 * simdgroup + (lane & 7); }
inline uint wkv_channel(uint lane, uint chunk) { return 16 * chunk + 4 * (lane >> 3); }

inline void wkv_load(thread float4* s, device const float* state, uint head, uint lane, uint simdgroup) {
    device const float* row = state + wkv_value(lane, simdgroup) * head;
    for (uint c = 0; c < CHUNKS; c++) {
        uint channel = wkv_channel(lane, c);
        s[c] = float4(0.0f);
        if (channel < head) {
            s[c] = *(device const float4*)(row + channel);
        }
    }
}

inline void wkv_store(thread float4* s, device float* state, uint head, uint lane, uint simdgroup) {
    device float* row = state + wkv_value(lane, simdgroup) * head;
    for (uint c = 0; c < CHUNKS; c++) {
        uint channel = wkv_channel(lane, c);
        if (channel < head) {
            *(device float4*)(row + channel) = s[c];
        }
    }
}

inline float4 wkv_fma(float4 a, float4 b, float4 c) {
    return float4(fma(a.x, b.x, c.x), fma(a.y, b.y, c.y), fma(a.z, b.z, c.z), fma(a.w, b.w, c.w));
}

inline float wkv_across(float4 a) { return (a.x + a.y) + (a.z + a.w); }

/// The state after `rows` rows; V_Y of each gets what it gives. A row's output is
/// summed over lanes together with the next row's first sum, which hides one wait.
inline void wkv_rows(thread float4* s, threadgroup float4* vectors4, uint rows, uint lane, uint simdgroup) {
    threadgroup float* vectors = (threadgroup float*)vectors4;
    uint value = wkv_value(lane, simdgroup);
    float out = 0.0f;
    for (uint row = 0; row <= rows; row++) {
        bool more = row < rows; // else there is but the sum of the row before
        threadgroup float4* v4 = vectors4 + VECTOR4_AT(0, more ? row : 0) + (lane >> 3);
        float4 part = float4(0.0f);
        for (uint c = 0; c < CHUNKS; c++) {
            float4 removal = v4[VECTOR4_AT(V_REMOVAL, 0) + 4 * c];
            part = wkv_fma(s[c], removal, part);
        }
        float removed = wkv_across(part);
        for (uint across = 8; across < 32; across *= 2) {
            float other = simd_shuffle_xor(removed, across);
            float other_out = simd_shuffle_xor(out, across);
            removed += other;
            out += other_out;
        }
        if (row > 0 && lane < 8) {
            vectors[VECTOR_AT(V_Y, row - 1) + value] = out;
        }
        if (more) {
            float v = vectors[VECTOR_AT(V_V, row) + value];
            part = float4(0.0f);
            for (uint c = 0; c < CHUNKS; c++) {
                float4 key = v4[VECTOR4_AT(V_KEY, 0) + 4 * c], replace = v4[VECTOR4_AT(V_REPLACE, 0) + 4 * c];
                float4 decay = v4[VECTOR4_AT(V_DECAY, 0) + 4 * c], r = v4[VECTOR4_AT(V_R, 0) + 4 * c];
                s[c] = wkv_fma(s[c], decay, wkv_fma(replace, float4(-removed), key * float4(v)));
                part = wkv_fma(s[c], r, part);
            }
            out = wkv_across(part);
        }
    }
}
