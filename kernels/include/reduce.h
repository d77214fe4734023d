// Sums and maxima over a threadgroup. Every thread calls them; the result is the
// same in all threads, and the order of the additions depends on nothing but the
// number of threads.
//
// `shared` has room for 32 values. Each function has a barrier before it writes
// there, so that calls can follow each other on the same memory.
#pragma once
#include "ingot.h"

#define REDUCE_MAX 32 // simdgroups in the largest threadgroup

inline float threadgroup_sum(float x, threadgroup float* shared, uint simdgroup, uint lane, uint simdgroups) {
    x = simd_sum(x);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_sum(lane < simdgroups ? shared[lane] : 0.0f);
}

inline float threadgroup_max(float x, threadgroup float* shared, uint simdgroup, uint lane, uint simdgroups) {
    x = simd_max(x);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_max(lane < simdgroups ? shared[lane] : as_type<float>(0xff800000u));
}

/// The sum over a simdgroup of 64-bit integers.
inline ulong simd_sum_ulong(ulong x) {
#pragma unroll
    for (uint m = 16; m > 0; m /= 2) {
        const uint low = simd_shuffle_xor(uint(x), m), high = simd_shuffle_xor(uint(x >> 32), m);
        x += ulong(high) << 32 | ulong(low);
    }
    return x;
}

/// The sum over the lanes before this one.
inline ulong simd_before_ulong(ulong x, uint lane) {
    ulong sum = x;
#pragma unroll
    for (uint d = 1; d < 32; d *= 2) {
        const uint from = lane >= d ? lane - d : lane;
        const uint low = simd_shuffle(uint(sum), from), high = simd_shuffle(uint(sum >> 32), from);
        sum += lane >= d ? ulong(high) << 32 | ulong(low) : ulong(0);
    }
    return sum - x;
}

inline ulong threadgroup_sum_ulong(ulong x, threadgroup ulong* shared, uint simdgroup, uint lane, uint simdgroups) {
    x = simd_sum_ulong(x);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_sum_ulong(lane < simdgroups ? shared[lane] : ulong(0));
}

/// The sum over the simdgroups before this one of a value that is the same in all lanes.
inline ulong simdgroups_before_ulong(ulong x, threadgroup ulong* shared, uint simdgroup, uint lane) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_sum_ulong(lane < simdgroup ? shared[lane] : ulong(0));
}

/// The sum over the threads before this one.
inline ulong threadgroup_before_ulong(ulong x, threadgroup ulong* shared, uint simdgroup, uint lane) {
    return simdgroups_before_ulong(simd_sum_ulong(x), shared, simdgroup, lane) + simd_before_ulong(x, lane);
}
