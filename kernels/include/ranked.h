// The usual case of sampling: no more candidates than the threadgroup has
// threads. Each thread has one and counts those that are better.
#pragma once
#include "candidates.h"

#define RANKED 1024 // candidates at most

/// A token from a short list: the same as `draw_listed` gives. The simdgroup's items are the candidates
/// from `first` on, of `all`. `keys`, `ids` and `weights` have room for RANKED values.
inline uint draw_ranked(device const uint2* items, uint count, uint first, uint all, Choice choice,
                        threadgroup uint* keys, threadgroup uint* ids, threadgroup ulong* weights,
                        threadgroup ulong* shared, threadgroup uint* found, uint simdgroup, uint lane,
                        thread bool& enough) {
    const uint own = 32 * simdgroup + lane;
    for (uint i = lane; i < count; i += 32) {
        const uint2 item = items[i];
        keys[first + i] = item.x;
        ids[first + i] = item.y;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint key = own < all ? keys[own] : 0;
    const float x = own < all ? value_of(key) : choice.largest;
    uint rank = 0;
    if (own < all) {
        for (uint i = 0; i < all; i++) {
            const uint other = keys[i];
            rank += other > key || (other == key && i < own) ? 1 : 0;
        }
        weights[rank] = weight_of(x, choice.largest, 1.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint kept = choice.top_k != 0 ? min(choice.top_k, all) : all;
    if (choice.top_p < 1.0f) {
        const ulong weight = own < kept ? weights[own] : ulong(0);
        const ulong listed = threadgroup_sum_ulong(weight, shared, simdgroup, lane, PARTS);
        const ulong target = share_of(TOP_P_OF_ALL(choice) ? choice.weight : listed, choice.top_p);
        enough = listed >= target;
        const ulong better = threadgroup_before_ulong(weight, shared, simdgroup, lane);
        const ulong needed = own < kept && better < target ? 1 : 0;
        kept = uint(threadgroup_sum_ulong(needed, shared, simdgroup, lane, PARTS));
    }
    const bool stays = own < all && rank < kept && exp(x - choice.largest) >= choice.min_p;
    const ulong length = stays ? weight_of(x, choice.largest, choice.temperature) : ulong(0);
    const ulong total = threadgroup_sum_ulong(length, shared, simdgroup, lane, PARTS);
    const ulong point = multiply_high(choice.number, total);
    const ulong before = threadgroup_before_ulong(length, shared, simdgroup, lane);
    if (point >= before && point - before < length) {
        *found = ids[own];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return *found;
}
