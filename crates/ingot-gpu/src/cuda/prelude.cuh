// The part of the Metal Shading Language that kernels/include/ingot.h lists, for
// NVRTC. Needs no CUDA header: half arithmetic is inline PTX. Everything is device
// code (--device-as-default-execution-space) and in namespace msl, where MSL's
// names hide CUDA's. The kernel's options are defined after this text.
#define INGOT_CUDA 1

namespace msl {

typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned char uchar;
typedef unsigned long long ulong;
// What `char` and `long` are translated to: CUDA's follow the host's.
typedef signed char schar;
typedef long long slong;

template <class T, class U> inline T as_type(U u) {
    static_assert(sizeof(T) == sizeof(U), "as_type between types of different size");
    T t;
    memcpy(&t, &u, sizeof(T));
    return t;
}

// ---- half

struct half {
    ushort bits;
    half() = default;
    half(float f) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(f)); }
    operator float() const {
        float f;
        asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
        return f;
    }
};

#define HALF_OPERATOR(op, instruction) \
    inline half operator op(half a, half b) { \
        half r; \
        asm(instruction ".f16 %0, %1, %2;" : "=h"(r.bits) : "h"(a.bits), "h"(b.bits)); \
        return r; \
    } \
    inline float operator op(half a, float b) { return float(a) op b; } \
    inline float operator op(float a, half b) { return a op float(b); } \
    inline half& operator op##=(half& a, half b) { return a = a op b; }
HALF_OPERATOR(+, "add.rn")
HALF_OPERATOR(-, "sub.rn")
HALF_OPERATOR(*, "mul.rn")
#undef HALF_OPERATOR

// ---- vectors: S is the size, which is also the alignment

template <class T, int S> struct alignas(S) vec2 {
    T x, y;
    vec2() = default;
    explicit vec2(T v) : x(v), y(v) {}
    vec2(T a, T b) : x(a), y(b) {}
    template <class U, int R> explicit vec2(vec2<U, R> o) : x(T(o.x)), y(T(o.y)) {}
};
template <class T, int S> struct alignas(S) vec4 {
    T x, y, z, w;
    vec4() = default;
    explicit vec4(T v) : x(v), y(v), z(v), w(v) {}
    vec4(vec2<T, S / 2> a, vec2<T, S / 2> b) : x(a.x), y(a.y), z(b.x), w(b.y) {}
    vec4(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
    template <class U, int R> explicit vec4(vec4<U, R> o) : x(T(o.x)), y(T(o.y)), z(T(o.z)), w(T(o.w)) {}
};
// Copied as words: as separate 16-bit values each would take a register of its
// own, and every use a byte permutation.
template <> struct alignas(4) vec2<half, 4> {
    union {
        struct { half x, y; };
        uint word;
    };
    vec2() = default;
    explicit vec2(half v) : x(v), y(v) {}
    vec2(half a, half b) : x(a), y(b) {}
    vec2(const vec2& o) : word(o.word) {}
    vec2& operator=(const vec2& o) { word = o.word; return *this; }
    template <class U, int R> explicit vec2(vec2<U, R> o) : x(half(o.x)), y(half(o.y)) {}
};
template <> struct alignas(8) vec4<half, 8> {
    union {
        struct { half x, y, z, w; };
        uint word[2];
    };
    vec4() = default;
    explicit vec4(half v) : x(v), y(v), z(v), w(v) {}
    vec4(half a, half b, half c, half d) : x(a), y(b), z(c), w(d) {}
    vec4(vec2<half, 4> a, vec2<half, 4> b) { word[0] = a.word; word[1] = b.word; }
    vec4(const vec4& o) { word[0] = o.word[0]; word[1] = o.word[1]; }
    vec4& operator=(const vec4& o) { word[0] = o.word[0]; word[1] = o.word[1]; return *this; }
    template <class U, int R> explicit vec4(vec4<U, R> o)
        : x(half(o.x)), y(half(o.y)), z(half(o.z)), w(half(o.w)) {}
};

typedef vec2<schar, 2> char2;    typedef vec4<schar, 4> char4;
typedef vec2<uchar, 2> uchar2;   typedef vec4<uchar, 4> uchar4;
typedef vec2<short, 4> short2;   typedef vec4<short, 8> short4;
typedef vec2<ushort, 4> ushort2; typedef vec4<ushort, 8> ushort4;
typedef vec2<int, 8> int2;       typedef vec4<int, 16> int4;
typedef vec2<uint, 8> uint2;     typedef vec4<uint, 16> uint4;
typedef vec2<half, 4> half2;     typedef vec4<half, 8> half4;
typedef vec2<float, 8> float2;   typedef vec4<float, 16> float4;

struct uint3 {
    uint x, y, z;
    uint3() = default;
    explicit uint3(uint v) : x(v), y(v), z(v) {}
    uint3(uint a, uint b, uint c) : x(a), y(b), z(c) {}
};

#define VECTOR_OPERATOR(op) \
    template <class T, int S> inline vec2<T, S> operator op(vec2<T, S> a, vec2<T, S> b) { \
        return vec2<T, S>(T(a.x op b.x), T(a.y op b.y)); \
    } \
    template <class T, int S> inline vec4<T, S> operator op(vec4<T, S> a, vec4<T, S> b) { \
        return vec4<T, S>(T(a.x op b.x), T(a.y op b.y), T(a.z op b.z), T(a.w op b.w)); \
    } \
    template <class T, int S> inline vec2<T, S>& operator op##=(vec2<T, S>& a, vec2<T, S> b) { return a = a op b; } \
    template <class T, int S> inline vec4<T, S>& operator op##=(vec4<T, S>& a, vec4<T, S> b) { return a = a op b; } \
    inline uint3 operator op(uint3 a, uint3 b) { return uint3(a.x op b.x, a.y op b.y, a.z op b.z); }
VECTOR_OPERATOR(+)
VECTOR_OPERATOR(-)
VECTOR_OPERATOR(*)
#undef VECTOR_OPERATOR

#define HALF2_OPERATOR(op, instruction) \
    inline half2 operator op(half2 a, half2 b) { \
        half2 r; \
        asm(instruction ".f16x2 %0, %1, %2;" : "=r"(r.word) : "r"(a.word), "r"(b.word)); \
        return r; \
    }
HALF2_OPERATOR(+, "add.rn")
HALF2_OPERATOR(-, "sub.rn")
HALF2_OPERATOR(*, "mul.rn")
#undef HALF2_OPERATOR

// ---- mathematics

template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
inline float min(float a, float b) { return ::fminf(a, b); }
inline float max(float a, float b) { return ::fmaxf(a, b); }
inline half min(half a, half b) { return half(::fminf(a, b)); }
inline half max(half a, half b) { return half(::fmaxf(a, b)); }
template <class T> inline T clamp(T x, T low, T high) { return min(max(x, low), high); }
inline int abs(int x) { return x < 0 ? -x : x; }
inline float abs(float x) { return ::fabsf(x); }
inline float fabs(float x) { return ::fabsf(x); }
template <class T> inline T select(T no, T yes, bool which) { return which ? yes : no; }
inline uint popcount(uint x) { return __popc(x); }

inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
inline float exp(float x) { return __expf(x); }
inline float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
inline float log(float x) { return ::logf(x); }
inline float tanh(float x) { return ::tanhf(x); }
inline float sqrt(float x) { return ::sqrtf(x); }
inline float rsqrt(float x) { return ::rsqrtf(x); }
inline float floor(float x) { return ::floorf(x); }
inline float rint(float x) { return ::rintf(x); }
inline float pow(float x, float y) { return ::powf(x, y); }
inline float dot(float4 a, float4 b) { return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, a.w * b.w))); }

namespace precise {
inline float sin(float x) { return ::sinf(x); }
inline float cos(float x) { return ::cosf(x); }
}

// ---- simdgroups, which are warps

namespace inner {
// A value as whole words; a warp exchanges nothing smaller.
template <class T> struct words {
    static constexpr int COUNT = (sizeof(T) + 3) / 4;
    uint word[COUNT];
    words(T v) {
        word[COUNT - 1] = 0;
        memcpy(word, &v, sizeof(T));
    }
    T value() const {
        T v;
        memcpy(&v, word, sizeof(T));
        return v;
    }
};
}
#define SHUFFLE(name, intrinsic) \
    template <class T> inline T name(T v, uint lane) { \
        inner::words<T> w(v); \
        for (int i = 0; i < w.COUNT; i++) w.word[i] = intrinsic(0xffffffffu, w.word[i], lane); \
        return w.value(); \
    }
SHUFFLE(simd_broadcast, __shfl_sync)
SHUFFLE(simd_shuffle, __shfl_sync)
SHUFFLE(simd_shuffle_xor, __shfl_xor_sync)
SHUFFLE(simd_shuffle_down, __shfl_down_sync)
SHUFFLE(simd_shuffle_up, __shfl_up_sync)
#undef SHUFFLE

// Every lane gets the same bits: each step adds or compares the same pair on both sides.
#define REDUCE(name, step) \
    template <class T> inline T name(T a) { \
        _Pragma("unroll") for (uint m = 16; m > 0; m >>= 1) { \
            T b = simd_shuffle_xor(a, m); \
            a = step; \
        } \
        return a; \
    }
REDUCE(simd_sum, a + b)
REDUCE(simd_max, max(a, b))
REDUCE(simd_min, min(a, b))
#undef REDUCE
inline int simd_sum(int a) { return __reduce_add_sync(0xffffffffu, a); }
inline int simd_max(int a) { return __reduce_max_sync(0xffffffffu, a); }
inline int simd_min(int a) { return __reduce_min_sync(0xffffffffu, a); }
inline uint simd_sum(uint a) { return __reduce_add_sync(0xffffffffu, a); }
inline uint simd_max(uint a) { return __reduce_max_sync(0xffffffffu, a); }
inline uint simd_min(uint a) { return __reduce_min_sync(0xffffffffu, a); }

template <class T> inline T simd_prefix_exclusive_sum(T v) {
    const uint lane = threadIdx.x & 31u;
    T sum = v;
    _Pragma("unroll") for (uint d = 1; d < 32; d <<= 1) {
        T before = simd_shuffle_up(sum, d);
        if (lane >= d) sum += before;
    }
    T before = simd_shuffle_up(sum, 1);
    return lane > 0 ? before : T(0);
}

// ---- barriers

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
inline void simdgroup_barrier(mem_flags) { __syncwarp(); }

// ---- extensions (see ingot.h)

inline int dot4_i8(uint a, uint b, int c) {
    int r;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}

inline void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The launch after this one may begin, up to its own grid_dependency_wait().
inline void grid_dependents_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// To the second-level cache only: the first level would keep what is there now.
inline void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// Volatile, so that what stands before grid_dependency_wait() stays before it; not
// .nc, because the assembler moves those loads below it. Predicated and not a
// branch, so that all loads of an unrolled loop are issued together. Small loads
// stay in the L1 cache: their neighbours in the same sector come next.
#define LOAD(count, cache, list, address) \
    "{.reg .pred q; setp.ne.u32 q, %" count ", 0; @q ld.global" cache " " list ", [%" address "];}"
inline void load_stream_into(bool ok, const uint4* p, uint4& v) {
    asm volatile(LOAD("5", ".L1::no_allocate.v4.u32", "{%0,%1,%2,%3}", "4")
        : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w) : "l"(p), "r"(uint(ok)));
}
inline void load_stream_into(bool ok, const uint2* p, uint2& v) {
    asm volatile(LOAD("3", ".v2.u32", "{%0,%1}", "2") : "+r"(v.x), "+r"(v.y) : "l"(p), "r"(uint(ok)));
}
inline void load_stream_into(bool ok, const uint* p, uint& v) {
    asm volatile(LOAD("2", ".u32", "%0", "1") : "+r"(v) : "l"(p), "r"(uint(ok)));
}
inline void load_stream_into(bool ok, const ushort* p, ushort& v) {
    asm volatile(LOAD("2", ".u16", "%0", "1") : "+h"(v) : "l"(p), "r"(uint(ok)));
}
inline void load_stream_into(bool ok, const uchar* p, uchar& v) {
    ushort wide = v;
    asm volatile(LOAD("2", ".u8", "%0", "1") : "+h"(wide) : "l"(p), "r"(uint(ok)));
    v = uchar(wide);
}
// The same of 16 bytes whose neighbours other simdgroups are about to load: these come to the L2 cache too.
inline void load_lines_into(bool ok, const uint4* p, uint4& v) {
    asm volatile(LOAD("5", ".L2::256B.v4.u32", "{%0,%1,%2,%3}", "4")
        : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w) : "l"(p), "r"(uint(ok)));
}
#undef LOAD
namespace inner {
template <int SIZE> struct bits_of;
template <> struct bits_of<1> { typedef uchar type; };
template <> struct bits_of<2> { typedef ushort type; };
template <> struct bits_of<4> { typedef uint type; };
template <> struct bits_of<8> { typedef uint2 type; };
template <> struct bits_of<16> { typedef uint4 type; };
}
template <class T> inline T load_stream_if(bool ok, const T* p) {
    typedef typename inner::bits_of<sizeof(T)>::type bits;
    bits v(0);
    load_stream_into(ok, (const bits*)p, v);
    return as_type<T>(v);
}
template <class T> inline T load_stream(const T* p) { return load_stream_if(true, p); }

} // namespace msl
