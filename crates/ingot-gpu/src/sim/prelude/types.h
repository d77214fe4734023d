// MSL's types and functions as C++, for the simulator. Exactly what kernels/include/ingot.h
// lists: what is missing here does not compile, so that no kernel comes to need it. No system
// header is included, which keeps a compilation short.
#define INGOT_SIM 1
#define INLINE __attribute__((always_inline)) inline
#define COLD __attribute__((noinline, cold))

namespace msl {

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

template <class T, class U> INLINE T as_type_of(U u) {
    static_assert(sizeof(T) == sizeof(U), "as_type: the sizes differ");
    T t;
    __builtin_memcpy((void*)&t, (const void*)&u, sizeof(T));
    return t;
}

// ---- half: IEEE binary16, rounded to nearest even. Sums and products of two halves are
// exact enough in f32 that rounding twice gives what rounding once would.
namespace sim {
INLINE ushort half_bits(float f) {
    const uint u = as_type_of<uint>(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x47800000) // 65536 and more, infinity, NaN
        return ushort(sign | (a > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (a < 0x38800000) // below 2^-14: adding 0.5 leaves the bits of a subnormal at the end
        return ushort(sign | (as_type_of<uint>(as_type_of<float>(a) + 0.5f) - 0x3f000000));
    return ushort(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13);
}
INLINE float half_value(ushort h) {
    const uint a = uint(h & 0x7fff) << 13;
    float f = as_type_of<float>(a) * 0x1p112f;
    if (a >= 0x0f800000) f = as_type_of<float>(a | 0x7f800000); // infinity, NaN
    return as_type_of<float>(as_type_of<uint>(f) | uint(h & 0x8000) << 16);
}
} // namespace sim

struct half {
    ushort bits;
    half() = default;
    INLINE half(float f) : bits(sim::half_bits(f)) {}
    INLINE operator float() const { return sim::half_value(bits); }
    INLINE half& operator+=(half o) { return *this = half(float(*this) + float(o)); }
    INLINE half& operator-=(half o) { return *this = half(float(*this) - float(o)); }
    INLINE half& operator*=(half o) { return *this = half(float(*this) * float(o)); }
};
#define HALF_OPERATOR(op)                                                              \
    INLINE half operator op(half a, half b) { return half(float(a) op float(b)); }    \
    INLINE float operator op(half a, float b) { return float(a) op b; }               \
    INLINE float operator op(float a, half b) { return a op float(b); }
HALF_OPERATOR(+) HALF_OPERATOR(-) HALF_OPERATOR(*) HALF_OPERATOR(/)
#undef HALF_OPERATOR
INLINE half operator-(half a) { return as_type_of<half>(ushort(a.bits ^ 0x8000)); }

// ---- vectors
template <class T> struct alignas(2 * sizeof(T)) vec2 {
    T x, y;
    vec2() = default;
    INLINE explicit vec2(T v) : x(v), y(v) {}
    INLINE vec2(T a, T b) : x(a), y(b) {}
    template <class U> INLINE explicit vec2(vec2<U> o) : x(T(o.x)), y(T(o.y)) {}
};
template <class T> struct alignas(4 * sizeof(T)) vec4 {
    T x, y, z, w;
    vec4() = default;
    INLINE explicit vec4(T v) : x(v), y(v), z(v), w(v) {}
    INLINE vec4(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
    template <class U> INLINE explicit vec4(vec4<U> o) : x(T(o.x)), y(T(o.y)), z(T(o.z)), w(T(o.w)) {}
};
#define VECTOR_OPERATOR(op)                                                            \
    template <class T> INLINE vec2<T> operator op(vec2<T> a, vec2<T> b) {              \
        return vec2<T>(T(a.x op b.x), T(a.y op b.y));                                  \
    }                                                                                  \
    template <class T> INLINE vec4<T> operator op(vec4<T> a, vec4<T> b) {              \
        return vec4<T>(T(a.x op b.x), T(a.y op b.y), T(a.z op b.z), T(a.w op b.w));    \
    }
VECTOR_OPERATOR(+) VECTOR_OPERATOR(-) VECTOR_OPERATOR(*)
#undef VECTOR_OPERATOR

typedef vec2<char> char2;     typedef vec4<char> char4;
typedef vec2<uchar> uchar2;   typedef vec4<uchar> uchar4;
typedef vec2<short> short2;   typedef vec4<short> short4;
typedef vec2<ushort> ushort2; typedef vec4<ushort> ushort4;
typedef vec2<int> int2;       typedef vec4<int> int4;
typedef vec2<uint> uint2;     typedef vec4<uint> uint4;
typedef vec2<half> half2;     typedef vec4<half> half4;
typedef vec2<float> float2;   typedef vec4<float> float4;
struct alignas(16) uint3 {
    uint x, y, z;
    uint3() = default;
    INLINE explicit uint3(uint v) : x(v), y(v), z(v) {}
    INLINE uint3(uint a, uint b, uint c) : x(a), y(b), z(c) {}
};
INLINE uint3 operator+(uint3 a, uint3 b) { return uint3(a.x + b.x, a.y + b.y, a.z + b.z); }
INLINE uint3 operator-(uint3 a, uint3 b) { return uint3(a.x - b.x, a.y - b.y, a.z - b.z); }
INLINE uint3 operator*(uint3 a, uint3 b) { return uint3(a.x * b.x, a.y * b.y, a.z * b.z); }

// ---- functions
#define ORDER(T)                                                         \
    INLINE T min(T a, T b) { return b < a ? b : a; }                     \
    INLINE T max(T a, T b) { return a < b ? b : a; }                     \
    INLINE T clamp(T x, T lo, T hi) { return min(max(x, lo), hi); }
ORDER(int) ORDER(uint) ORDER(long) ORDER(ulong)
#undef ORDER
// A NaN loses against a number, as in MSL.
INLINE float min(float a, float b) { return __builtin_fminf(a, b); }
INLINE float max(float a, float b) { return __builtin_fmaxf(a, b); }
INLINE half min(half a, half b) { return half(min(float(a), float(b))); }
INLINE half max(half a, half b) { return half(max(float(a), float(b))); }
INLINE float clamp(float x, float lo, float hi) { return min(max(x, lo), hi); }
INLINE half clamp(half x, half lo, half hi) { return min(max(x, lo), hi); }
INLINE int abs(int x) { return x < 0 ? -x : x; }
INLINE float abs(float x) { return __builtin_fabsf(x); }
INLINE half abs(half x) { return as_type_of<half>(ushort(x.bits & 0x7fff)); }
INLINE float fabs(float x) { return __builtin_fabsf(x); }
INLINE half fabs(half x) { return abs(x); }
INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
INLINE float exp(float x) { return __builtin_expf(x); }
INLINE float exp2(float x) { return __builtin_exp2f(x); }
INLINE float log(float x) { return __builtin_logf(x); }
INLINE float tanh(float x) { return __builtin_tanhf(x); }
INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
INLINE float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
INLINE float floor(float x) { return __builtin_floorf(x); }
INLINE float rint(float x) { return __builtin_rintf(x); }
INLINE float pow(float x, float y) { return __builtin_powf(x, y); }
namespace precise {
INLINE float sin(float x) { return __builtin_sinf(x); }
INLINE float cos(float x) { return __builtin_cosf(x); }
} // namespace precise
template <class T> INLINE T select(T no, T yes, bool choice) { return choice ? yes : no; }
INLINE uint popcount(uint x) { return uint(__builtin_popcount(x)); }
INLINE int popcount(int x) { return __builtin_popcount(uint(x)); }
INLINE uchar popcount(uchar x) { return uchar(__builtin_popcount(x)); }
INLINE float dot(float4 a, float4 b) { return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, a.w * b.w))); }
INLINE int dot4_i8(uint a, uint b, int c) {
    const char4 p = as_type_of<char4>(a), q = as_type_of<char4>(b);
    return c + int(p.x) * int(q.x) + int(p.y) * int(q.y) + int(p.z) * int(q.z) + int(p.w) * int(q.w);
}

} // namespace msl
