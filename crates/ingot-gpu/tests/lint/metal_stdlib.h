// The part of Metal's standard library that kernels may use (the list is in
// kernels/include/ingot.h), declared for clang as C++ for OpenCL, whose address
// spaces are those of Metal. Overloads are those of the Metal Shading Language
// specification, so that a call that is ambiguous for Apple's compiler is so here.
// Nothing is defined: kernels are checked, not compiled.
#define device __global
#define threadgroup __local
#define thread __private
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
// Words of OpenCL's that are ordinary names in Metal.
#define global lint_global
#define local lint_local
#define generic lint_generic

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

// ---- vectors
//
// Clang has no constructors for them: `float4(...)` is a macro, `float4` the type.

template <typename T> struct lint_vector { static constexpr bool is = false; };
template <bool is_vector> struct lint_convert {
    template <typename V, typename F> static V to(F x) { return (V)(x); }
};
template <> struct lint_convert<true> {
    template <typename V, typename F> static V to(F x) { return __builtin_convertvector(x, V); }
};

#define LINT_VECTOR(T, N) \
    typedef T T##N __attribute__((ext_vector_type(N))); \
    template <> struct lint_vector<T##N> { static constexpr bool is = true; }; \
    template <typename F> T##N make_##T##N(F x) { return lint_convert<lint_vector<F>::is>::template to<T##N>(x); }
#define LINT_VECTORS(T) \
    LINT_VECTOR(T, 2) LINT_VECTOR(T, 4) \
    T##2 make_##T##2(T x, T y); \
    T##4 make_##T##4(T x, T y, T z, T w); \
    T##4 make_##T##4(T##2 xy, T##2 zw);
LINT_VECTORS(char)
LINT_VECTORS(uchar)
LINT_VECTORS(short)
LINT_VECTORS(ushort)
LINT_VECTORS(int)
LINT_VECTORS(uint)
LINT_VECTORS(half)
LINT_VECTORS(float)
LINT_VECTOR(uint, 3)
uint3 make_uint3(uint x, uint y, uint z);
LINT_VECTOR(ulong, 2) // only for the origin of a matrix
ulong2 make_ulong2(ulong x, ulong y);

namespace metal {

// ---- functions

template <typename T, typename F> inline T as_type(F x) { return __builtin_bit_cast(T, x); }

#define LINT_ORDERED(T) \
    T min(T x, T y); \
    T max(T x, T y); \
    T clamp(T x, T low, T high); \
    T abs(T x); \
    T select(T no, T yes, bool which);
#define LINT_INTEGER(T) \
    LINT_ORDERED(T) \
    T popcount(T x);
#define LINT_REAL(T) \
    LINT_ORDERED(T) \
    T fabs(T x); \
    T fma(T a, T b, T c); \
    T exp(T x); \
    T exp2(T x); \
    T log(T x); \
    T tanh(T x); \
    T sqrt(T x); \
    T rsqrt(T x); \
    T floor(T x); \
    T rint(T x); \
    T pow(T x, T y);
LINT_INTEGER(char)
LINT_INTEGER(uchar)
LINT_INTEGER(short)
LINT_INTEGER(ushort)
LINT_INTEGER(int)
LINT_INTEGER(uint)
LINT_INTEGER(long)
LINT_INTEGER(ulong)
LINT_REAL(half)
LINT_REAL(float)
float dot(float4 x, float4 y);

namespace precise {
float sin(float x);
float cos(float x);
}

// ---- simdgroups and barriers

#define LINT_SIMDGROUP(T) \
    T simd_sum(T x); \
    T simd_max(T x); \
    T simd_min(T x); \
    T simd_prefix_exclusive_sum(T x); \
    T simd_broadcast(T x, ushort lane); \
    T simd_shuffle(T x, ushort lane); \
    T simd_shuffle_xor(T x, ushort mask); \
    T simd_shuffle_down(T x, ushort delta);
LINT_SIMDGROUP(char)
LINT_SIMDGROUP(uchar)
LINT_SIMDGROUP(short)
LINT_SIMDGROUP(ushort)
LINT_SIMDGROUP(int)
LINT_SIMDGROUP(uint)
LINT_SIMDGROUP(half)
LINT_SIMDGROUP(float)

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
mem_flags operator|(mem_flags a, mem_flags b);
void threadgroup_barrier(mem_flags flags);
void simdgroup_barrier(mem_flags flags);

// ---- matrices of a simdgroup
//
// The specification prints one type for all arguments of multiply_accumulate; in
// Apple's header they are independent, so that factors in half are summed in float.

template <typename T, int Cols, int Rows> struct simdgroup_matrix {
    static_assert(Cols == 8 && Rows == 8, "there are only matrices of 8 by 8");
    simdgroup_matrix();
    explicit simdgroup_matrix(T diagonal);
};
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;

template <typename T, int Cols, int Rows = Cols>
simdgroup_matrix<T, Cols, Rows> make_filled_simdgroup_matrix(T value);

#define LINT_MATRIX_MEMORY(SPACE) \
    template <typename T, int Cols, int Rows> \
    void simdgroup_load(thread simdgroup_matrix<T, Cols, Rows>& d, SPACE const T* source, \
                        ulong elements_per_row = Cols, ulong2 origin = 0, bool transpose = false); \
    template <typename T, int Cols, int Rows> \
    void simdgroup_store(simdgroup_matrix<T, Cols, Rows> a, SPACE T* target, \
                         ulong elements_per_row = Cols, ulong2 origin = 0, bool transpose = false);
LINT_MATRIX_MEMORY(device)
LINT_MATRIX_MEMORY(threadgroup)

template <typename D, typename A, typename B, int K, int Cols, int Rows>
void simdgroup_multiply(thread simdgroup_matrix<D, Cols, Rows>& d, simdgroup_matrix<A, K, Rows> a,
                        simdgroup_matrix<B, Cols, K> b);
template <typename D, typename A, typename B, typename C, int K, int Cols, int Rows>
void simdgroup_multiply_accumulate(thread simdgroup_matrix<D, Cols, Rows>& d, simdgroup_matrix<A, K, Rows> a,
                                   simdgroup_matrix<B, Cols, K> b, simdgroup_matrix<C, Cols, Rows> c);

} // namespace metal

#define char2(...) make_char2(__VA_ARGS__)
#define char4(...) make_char4(__VA_ARGS__)
#define uchar2(...) make_uchar2(__VA_ARGS__)
#define uchar4(...) make_uchar4(__VA_ARGS__)
#define short2(...) make_short2(__VA_ARGS__)
#define short4(...) make_short4(__VA_ARGS__)
#define ushort2(...) make_ushort2(__VA_ARGS__)
#define ushort4(...) make_ushort4(__VA_ARGS__)
#define int2(...) make_int2(__VA_ARGS__)
#define int4(...) make_int4(__VA_ARGS__)
#define uint2(...) make_uint2(__VA_ARGS__)
#define uint3(...) make_uint3(__VA_ARGS__)
#define uint4(...) make_uint4(__VA_ARGS__)
#define ulong2(...) make_ulong2(__VA_ARGS__)
#define half2(...) make_half2(__VA_ARGS__)
#define half4(...) make_half4(__VA_ARGS__)
#define float2(...) make_float2(__VA_ARGS__)
#define float4(...) make_float4(__VA_ARGS__)
