// What every kernel includes first. On Metal: the standard library and plain
// versions of the extensions. Elsewhere a prelude precedes the translated text
// and supplies both.
//
// Types: bool char uchar short ushort int uint long ulong half float bfloat-as-ushort,
//   vectors of 2 and 4 of char uchar short ushort int uint half float, uint3
//   (components x y z w, constructors, + - * on equal types, conversion by constructor).
// Functions: min max clamp abs fabs fma exp exp2 log tanh sqrt rsqrt floor rint pow select
//   precise::sin precise::cos as_type popcount; on float4: dot.
// Simdgroup: simd_sum simd_max simd_min simd_broadcast simd_shuffle simd_shuffle_xor simd_shuffle_down
//   simd_prefix_exclusive_sum.
// Barriers: threadgroup_barrier simdgroup_barrier with mem_flags::mem_threadgroup, mem_device, mem_none.
#pragma once

#ifdef __METAL_VERSION__
#include <metal_stdlib>
using namespace metal;

// Extensions: free or plain code on Metal, one instruction elsewhere.

/// Waits until the launches before this one are done, where launches overlap.
#define grid_dependency_wait()

/// c + the sum of products of four signed bytes in each word.
inline int dot4_i8(uint a, uint b, int c) {
    char4 p = as_type<char4>(a), q = as_type<char4>(b);
    return c + int(p.x) * int(q.x) + int(p.y) * int(q.y) + int(p.z) * int(q.z) + int(p.w) * int(q.w);
}

/// Weights, which are read once: a load that need not stay in the cache.
template <typename T> inline T load_stream(device const T* p) { return *p; }

/// The same, or zero; all such loads of an unrolled loop are issued together.
template <typename T> inline T load_stream_if(bool ok, device const T* p) { return ok ? *p : T(0); }

/// The same into `v`, which otherwise stays as it is. A loop that loads ahead into the same variables again and
/// again does so with this: a value that may be zero instead is moved, and for that waited for, at once.
template <typename T> inline void load_stream_into(bool ok, device const T* p, thread T& v) {
    if (ok) v = *p;
}
/// The same of 16 bytes whose neighbours other simdgroups are about to load.
template <typename T> inline void load_lines_into(bool ok, device const T* p, thread T& v) {
    if (ok) v = *p;
}
#endif

/// bf16 bits as a float.
inline float bf16_to_float(ushort bits) { return as_type<float>(uint(bits) << 16); }
/// f16 bits as a float.
inline float f16_to_float(ushort bits) { return float(as_type<half>(bits)); }
