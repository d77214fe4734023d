// Products of small matrices by the units that are made for them:
//
//     C[16][16] += A[16][16] B[16][16]
//
// by one simdgroup, with A and B of `tile_t` (half, or float with TILE_F32) from
// threadgroup memory and C of float in registers. Which lane holds what is the
// device's business; what can be done to a C is in this file. Sums run over k in
// ascending steps of 16, so that a row of C depends on nothing but its row of A.
//
// Rows in threadgroup memory begin at multiples of 16 bytes. TILE_PAD values
// behind each row of a multiple of 32 bytes keep the rows of a column in different banks.
//
// Every lane of the simdgroup calls these functions.
#pragma once
#include "ingot.h"

#ifndef TILE_F32
#define TILE_F32 0
#endif

#if TILE_F32
typedef float tile_t;
typedef float4 tile_t4;
#define TILE_BYTES 4
#else
typedef half tile_t;
typedef half4 tile_t4;
#define TILE_BYTES 2
#endif
#define TILE_PAD (16 / TILE_BYTES)

/// Four values as elements of tiles.
inline tile_t4 tile_values(float4 v) {
#if TILE_F32
    return v;
#else
    return half4(half(v.x), half(v.y), half(v.z), half(v.w));
#endif
}

#if defined(__METAL_VERSION__)

// Matrices of 8 by 8: (row half, column half) is m[2 * row half + column half].
struct TileA {
    simdgroup_matrix<tile_t, 8, 8> m[4];
};
struct TileB {
    simdgroup_matrix<tile_t, 8, 8> m[4];
};
struct TileC {
    simdgroup_matrix<float, 8, 8> m[4];
};

/// A from p[row * stride + k].
inline void tile_load_a(thread TileA& a, threadgroup const tile_t* p, uint stride, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++) simdgroup_load(a.m[i], p + 8 * (i / 2) * stride + 8 * (i % 2), stride);
}
/// B from p[column * stride + k]: the rows of a matrix that is multiplied by the rows of another.
inline void tile_load_b(thread TileB& b, threadgroup const tile_t* p, uint stride, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++)
        simdgroup_load(b.m[i], p + 8 * (i % 2) * stride + 8 * (i / 2), stride, ulong2(0, 0), true);
}
/// B from p[k * stride + column].
inline void tile_load_b_plain(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 4; i++) simdgroup_load(b.m[i], p + 8 * (i / 2) * stride + 8 * (i % 2), stride);
}
inline void tile_zero(thread TileC& c) {
#pragma unroll
    for (uint i = 0; i < 4; i++) c.m[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
}
/// c += a b
inline void tile_multiply(thread TileC& c, thread const TileA& a, thread const TileB& b) {
#pragma unroll
    for (uint k = 0; k < 2; k++)
#pragma unroll
        for (uint i = 0; i < 4; i++)
            simdgroup_multiply_accumulate(c.m[i], a.m[i / 2 * 2 + k], b.m[2 * k + i % 2], c.m[i]);
}
/// Row r of c times the factor at diagonal[8 * r + r % 8]; the rest of diagonal[16][8] is zero.
inline void tile_scale_rows(thread TileC& c, threadgroup const float* diagonal, uint) {
#pragma unroll
    for (uint i = 0; i < 2; i++) {
        simdgroup_matrix<float, 8, 8> factors;
        simdgroup_load(factors, diagonal + 64 * i, 8);
        simdgroup_multiply(c.m[2 * i], factors, c.m[2 * i]);
        simdgroup_multiply(c.m[2 * i + 1], factors, c.m[2 * i + 1]);
    }
}
/// C from p[row * stride + column].
inline void tile_load(thread TileC& c, threadgroup const float* p, uint stride, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++) simdgroup_load(c.m[i], p + 8 * (i / 2) * stride + 8 * (i % 2), stride);
}
/// C to p[row * stride + column].
inline void tile_store(thread const TileC& c, threadgroup float* p, uint stride, uint) {
#pragma unroll
    for (uint i = 0; i < 4; i++) simdgroup_store(c.m[i], p + 8 * (i / 2) * stride + 8 * (i % 2), stride);
}

#else

// Lane l owns rows l / 4 and l / 4 + 8 of C, of each the columns 2 (l % 4) and
// 2 (l % 4) + 1 of both halves: value 4 * half + 2 * (row / 8) + column % 2.
struct TileC {
    float v[8];
};

inline void tile_zero(thread TileC& c) {
#pragma unroll
    for (uint i = 0; i < 8; i++) c.v[i] = 0.0f;
}
inline void tile_scale_rows(thread TileC& c, threadgroup const float* diagonal, uint lane) {
    const uint row = lane / 4;
    const float low = diagonal[9 * row], high = diagonal[64 + 9 * row];
#pragma unroll
    for (uint i = 0; i < 8; i++) c.v[i] *= i & 2 ? high : low;
}
inline void tile_load(thread TileC& c, threadgroup const float* p, uint stride, uint lane) {
    threadgroup const float* at = p + lane / 4 * stride + 2 * (lane % 4);
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const float2 two = *(threadgroup const float2*)(at + 8 * (i % 2) * stride + 8 * (i / 2));
        c.v[2 * i] = two.x;
        c.v[2 * i + 1] = two.y;
    }
}
inline void tile_store(thread const TileC& c, threadgroup float* p, uint stride, uint lane) {
    threadgroup float* at = p + lane / 4 * stride + 2 * (lane % 4);
#pragma unroll
    for (uint i = 0; i < 4; i++)
        *(threadgroup float2*)(at + 8 * (i % 2) * stride + 8 * (i / 2)) = float2(c.v[2 * i], c.v[2 * i + 1]);
}

#if defined(INGOT_CUDA) && !TILE_F32

// The fragments of mma.m16n8k16, B as two of them side by side.
struct TileA {
    uint r[4];
};
struct TileB {
    uint r[4];
};

/// Four matrices of 8 by 8: lane l says where row l % 8 of matrix l / 8 begins.
#define TILE_LDMATRIX(kind, r, p)                                                                              \
    asm volatile("{.reg .u64 s; cvta.to.shared.u64 s, %4; ldmatrix.sync.aligned.m8n8.x4" kind                  \
                 ".shared.b16 {%0, %1, %2, %3}, [s];}"                                                         \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                              \
                 : "l"(p)                                                                                      \
                 : "memory")

inline void tile_load_a(thread TileA& a, threadgroup const tile_t* p, uint stride, uint lane) {
    TILE_LDMATRIX("", a.r, p + lane % 16 * stride + lane / 16 * 8);
}
inline void tile_load_b(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
    TILE_LDMATRIX("", b.r, p + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
}
inline void tile_load_b_plain(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
    TILE_LDMATRIX(".trans", b.r, p + lane % 16 * stride + lane / 16 * 8);
}
inline void tile_multiply(thread TileC& c, thread const TileA& a, thread const TileB& b) {
#pragma unroll
    for (uint h = 0; h < 2; h++)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c.v[4 * h]), "+f"(c.v[4 * h + 1]), "+f"(c.v[4 * h + 2]), "+f"(c.v[4 * h + 3])
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]), "r"(b.r[2 * h + 1]));
}

#elif defined(INGOT_CUDA)

// The units take floats of 11 significant bits (tf32). A float is the sum of two
// of these to within 2^-22; of the four products the smallest is left out.
struct Tf32 {
    uint high, low;
};
// The fragments of mma.m16n8k8 for both halves of k, B for both halves of columns.
struct TileA {
    Tf32 v[2][4];
};
struct TileB {
    Tf32 v[2][2][2];
};

inline uint tf32_nearest(float x) { return (as_type<uint>(x) + 0x1000u) & 0xffffe000u; }
inline Tf32 tf32_split(float x) {
    Tf32 t;
    t.high = tf32_nearest(x);
    t.low = tf32_nearest(x - as_type<float>(t.high));
    return t;
}
inline void tile_load_a(thread TileA& a, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 8; i++)
        a.v[i / 4][i % 4] = tf32_split(p[(lane / 4 + i % 2 * 8) * stride + i / 2 * 4 + lane % 4]);
}
inline void tile_load_b(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 8; i++)
        b.v[i / 4][i / 2 % 2][i % 2] =
            tf32_split(p[(lane / 4 + i / 2 % 2 * 8) * stride + i / 4 * 8 + i % 2 * 4 + lane % 4]);
}
inline void tile_load_b_plain(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 8; i++)
        b.v[i / 4][i / 2 % 2][i % 2] =
            tf32_split(p[(i / 4 * 8 + i % 2 * 4 + lane % 4) * stride + lane / 4 + i / 2 % 2 * 8]);
}
#define TILE_TF32(c, a, x, b, y)                                                                               \
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "    \
        "{%0, %1, %2, %3};"                                                                                    \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                       \
        : "r"(a[0].x), "r"(a[1].x), "r"(a[2].x), "r"(a[3].x), "r"(b[0].y), "r"(b[1].y))

// The units cut sums off instead of rounding them; over many steps that adds up. So
// they sum one step only, and its sums are added to the others as they should be.
inline void tile_multiply(thread TileC& c, thread const TileA& a, thread const TileB& b) {
#pragma unroll
    for (uint h = 0; h < 2; h++) {
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (uint k = 0; k < 2; k++) {
            TILE_TF32(sums, a.v[k], low, b.v[k][h], high);
            TILE_TF32(sums, a.v[k], high, b.v[k][h], low);
        }
#pragma unroll
        for (uint k = 0; k < 2; k++) TILE_TF32(sums, a.v[k], high, b.v[k][h], high);
#pragma unroll
        for (uint i = 0; i < 4; i++) c.v[4 * h + i] += sums[i];
    }
}

#else

// Each lane loads the rows of A and the columns of B that its values of C need.
struct TileA {
    float v[2][16];
};
struct TileB {
    float v[4][16];
};

inline void tile_load_row(thread float* v, threadgroup const tile_t* p) {
#pragma unroll
    for (uint k = 0; k < 4; k++) {
        const tile_t4 four = ((threadgroup const tile_t4*)p)[k];
        v[4 * k] = four.x;
        v[4 * k + 1] = four.y;
        v[4 * k + 2] = four.z;
        v[4 * k + 3] = four.w;
    }
}
inline void tile_load_a(thread TileA& a, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 2; i++) tile_load_row(a.v[i], p + (lane / 4 + 8 * i) * stride);
}
inline void tile_load_b(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint i = 0; i < 4; i++) tile_load_row(b.v[i], p + (2 * (lane % 4) + i % 2 + 8 * (i / 2)) * stride);
}
inline void tile_load_b_plain(thread TileB& b, threadgroup const tile_t* p, uint stride, uint lane) {
#pragma unroll
    for (uint k = 0; k < 16; k++)
#pragma unroll
        for (uint i = 0; i < 4; i++) b.v[i][k] = p[k * stride + 2 * (lane % 4) + i % 2 + 8 * (i / 2)];
}
inline void tile_multiply(thread TileC& c, thread const TileA& a, thread const TileB& b) {
#pragma unroll
    for (uint k = 0; k < 16; k++)
#pragma unroll
        for (uint i = 0; i < 8; i++)
            c.v[i] = fma(a.v[i / 2 % 2][k], b.v[i / 4 * 2 + i % 2][k], c.v[i]);
}

#endif
#endif
