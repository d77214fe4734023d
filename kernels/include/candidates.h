// The tokens that can still be chosen, in order of their ids: a list in 32 parts,
// each made by the simdgroup that looks at that range of the vocabulary. All
// functions are called by all 1024 threads of the threadgroup.
//
// `items` is a simdgroup's own part, `count` its length; an item is (key, id).
#pragma once
#include "reduce.h"
#include "sampling.h"

#define PARTS 32  // simdgroups
#define ROUND 256 // values that a simdgroup looks at together, eight to a lane

/// Values in a simdgroup's range of the vocabulary.
inline uint part_length(uint vocab) { return (vocab + PARTS * ROUND - 1) / (PARTS * ROUND) * ROUND; }

/// Logits i to i + 7 of a row, i a multiple of 8; beyond the vocabulary, NaN.
inline void load_logits(device const float* row, uint i, uint vocab, thread float* x) {
    const float nan = as_type<float>(0x7fc00000u);
    if (vocab % 4 == 0) {
        const float4 a = i < vocab ? *(device const float4*)(row + i) : float4(nan);
        const float4 b = i + 4 < vocab ? *(device const float4*)(row + i + 4) : float4(nan);
        x[0] = a.x;
        x[1] = a.y;
        x[2] = a.z;
        x[3] = a.w;
        x[4] = b.x;
        x[5] = b.y;
        x[6] = b.z;
        x[7] = b.w;
    } else {
#pragma unroll
        for (uint e = 0; e < 8; e++) {
            x[e] = i + e < vocab ? row[i + e] : nan;
        }
    }
}

/// The same eight after the penalties; the row of counts has a multiple of 8.
inline void penalize(device const ushort* row, uint i, uint vocab, Penalties penalties, thread float* x) {
#if PENALTIES
    if (i < vocab) {
        const uint4 words = *(device const uint4*)(row + i);
        const uint pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (uint e = 0; e < 8; e++) {
            x[e] = penalized(x[e], pairs[e / 2] >> (e % 2 * 16) & 0xffffu, penalties);
        }
    }
#endif
}

/// What is counted: of the items that the filters so far keep, those between two
/// keys, each as one or with its weight.
struct Measure {
    uint key, id;  // kept are items with higher keys, and with this key up to this id
    uint low, high; // only keys from low to high; low is not 0
    bool weighted;
    float largest, temperature; // of the weight
    float min_p;                // of the largest probability at temperature 1
};

inline ulong measure(uint2 item, Measure m) {
    const bool kept = item.x > m.key || (item.x == m.key && item.y <= m.id);
    if (!kept || item.x < m.low || item.x > m.high) {
        return 0;
    }
    if (!m.weighted) {
        return 1;
    }
    const float x = value_of(item.x);
    return exp(x - m.largest) < m.min_p ? ulong(0) : weight_of(x, m.largest, m.temperature);
}

/// The measure of a simdgroup's own items, the same in all lanes.
inline ulong measure_own(device const uint2* items, uint count, Measure m, uint lane) {
    ulong sum = 0;
    for (uint i = lane; i < count; i += 32) {
        sum += measure(items[i], m);
    }
    return simd_sum_ulong(sum);
}

/// The measure of all items.
inline ulong measure_all(device const uint2* items, uint count, Measure m, threadgroup ulong* shared,
                         uint simdgroup, uint lane) {
    const ulong own = measure_own(items, count, m, lane);
    return threadgroup_sum_ulong(lane == 0 ? own : ulong(0), shared, simdgroup, lane, PARTS);
}

/// The item on whose stretch of the line `point` falls, if the items' measures are
/// laid out in order; `point` is less than the measure of all.
inline uint find(device const uint2* items, uint count, Measure m, ulong point, threadgroup ulong* shared,
                 threadgroup uint* found, uint simdgroup, uint lane) {
    const ulong own = measure_own(items, count, m, lane);
    const ulong before = simdgroups_before_ulong(own, shared, simdgroup, lane);
    if (point >= before && point - before < own) {
        ulong rest = point - before;
        for (uint begin = 0; begin < count; begin += 32) {
            const uint2 item = begin + lane < count ? items[begin + lane] : uint2(0);
            const ulong length = measure(item, m), at = simd_before_ulong(length, lane);
            if (rest >= at && rest - at < length) {
                *found = item.y;
            }
            const ulong all = simd_sum_ulong(length);
            if (rest < all) {
                break;
            }
            rest -= all;
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return *found;
}

/// Cuts what is kept to the best that reach the measure `target`, as few as possible; the lower
/// id is better among equals. All together reach it, and `target` is not 0.
inline void keep_best(device const uint2* items, uint count, thread Measure& m, ulong target,
                      threadgroup ulong* shared, threadgroup uint* found, uint simdgroup, uint lane) {
    uint key = 0;
    for (uint bit = 0x80000000u; bit != 0; bit /= 2) {
        m.low = key | bit;
        key = measure_all(items, count, m, shared, simdgroup, lane) >= target ? key | bit : key;
    }
    m.low = key + 1;
    const ulong above = measure_all(items, count, m, shared, simdgroup, lane);
    m.low = key;
    m.high = key;
    const ulong one = m.weighted ? weight_of(value_of(key), m.largest, m.temperature) : ulong(1);
    const ulong wanted = (target - above + one - 1) / one;
    m.id = find(items, count, m, (wanted - 1) * one, shared, found, simdgroup, lane);
    m.key = key;
    m.low = 1;
    m.high = 0xffffffffu;
}

/// Lists a simdgroup's tokens with keys from `bound` on; returns how many. Adds up the weight of all
/// tokens of this lane if top-p needs it.
inline uint list_candidates(device const float* row, device const ushort* counts, Penalties penalties, uint vocab,
                            uint begin, uint end, uint bound, device uint2* items, thread Choice& choice, uint lane) {
    uint count = 0;
    choice.weight = 0;
    for (uint at = begin; at < end; at += ROUND) {
        const uint i = at + 8 * lane;
        float x[8];
        load_logits(row, i, vocab, x);
        penalize(counts, i, vocab, penalties, x);
        uint hits = 0;
#pragma unroll
        for (uint e = 0; e < 8; e++) {
            const uint key = key_of(x[e]);
            hits += key >= bound ? 1 : 0;
            if (TOP_P_OF_ALL(choice) && key > IMPOSSIBLE) {
                choice.weight += weight_of(value_of(key), choice.largest, 1.0f);
            }
        }
        const uint all = simd_sum(hits);
        if (all != 0) {
            uint to = count + simd_prefix_exclusive_sum(hits);
            for (uint e = 0; e < 8; e++) {
                const uint key = key_of(x[e]);
                if (key >= bound) {
                    items[to++] = uint2(key, i + e);
                }
            }
            count += all;
        }
    }
    return count;
}

/// A token from a list of any length. `enough` becomes false if top-p wants more than is listed.
inline uint draw_listed(device const uint2* items, uint count, Choice choice, threadgroup ulong* shared,
                        threadgroup uint* found, uint simdgroup, uint lane, thread bool& enough) {
    Measure m;
    m.key = 0;
    m.id = 0xffffffffu;
    m.low = 1;
    m.high = 0xffffffffu;
    m.weighted = false;
    m.largest = choice.largest;
    m.temperature = 1.0f;
    m.min_p = 0.0f;
    if (choice.top_k != 0 && measure_all(items, count, m, shared, simdgroup, lane) > choice.top_k) {
        keep_best(items, count, m, choice.top_k, shared, found, simdgroup, lane);
    }
    m.weighted = true;
    if (choice.top_p < 1.0f) {
        const ulong listed = measure_all(items, count, m, shared, simdgroup, lane);
        const ulong target = share_of(TOP_P_OF_ALL(choice) ? choice.weight : listed, choice.top_p);
        enough = listed >= target;
        if (!enough) {
            return 0;
        }
        keep_best(items, count, m, target, shared, found, simdgroup, lane);
    }
    m.temperature = choice.temperature;
    m.min_p = choice.min_p;
    const ulong point = multiply_high(choice.number, measure_all(items, count, m, shared, simdgroup, lane));
    return find(items, count, m, point, shared, found, simdgroup, lane);
}
