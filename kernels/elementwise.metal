// Value by value:
//
//   OP 0: out = a + b
//   OP 1: out = a + (b - a) * c
//   OP 2: out = silu(a) * b
//   OP 3: out = gelu(a) * b
//   OP 4: out = CAP * tanh(a / CAP)
//
// References: crates/ingot-plan/src/ops/{add,blend,glu,softcap}.rs.
// Threads: 256, each four consecutive values of a row. Grid: (WIDTH / 1024, rows).
#include "activation.h"
#include "step.h"

// variants: OP=1; OP=2; OP=3; OP=4
#ifndef OP
#define OP 0
#endif

constant uint WIDTH [[function_constant(0)]];
constant uint OF_OUTPUTS [[function_constant(1)]]; // 1: rows are outputs, 0: tokens
constant float CAP [[function_constant(2)]];

inline float apply(float a, float b, float c) {
#if OP == 0
    return a + b;
#elif OP == 1
    return a + (b - a) * c;
#elif OP == 2
    return silu(a) * b;
#elif OP == 3
    return gelu(a) * b;
#else
    return soft_capped(a, CAP);
#endif
}

kernel void elementwise(device const float* a [[buffer(0)]], // [rows, WIDTH], like all
                        device const float* b [[buffer(1)]], // unused by OP 4
                        device const float* c [[buffer(2)]], // unused but for OP 1
                        device const uint* step [[buffer(3)]],
                        device float* out [[buffer(4)]],
                        uint2 group [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]]) {
    grid_dependency_wait();
    const uint rows = OF_OUTPUTS != 0 ? step_outputs(step) : step_rows(step);
    const uint begin = (group.x * 256 + thread_index) * 4;
    const ulong at = ulong(group.y) * WIDTH + begin;
    if (group.y < rows && begin < WIDTH) {
        if (WIDTH % 4 == 0) {
            const float4 x = *(device const float4*)(a + at);
            float4 y = x, z = x;
#if OP != 4
            y = *(device const float4*)(b + at);
#endif
#if OP == 1
            z = *(device const float4*)(c + at);
#endif
            *(device float4*)(out + at) =
                float4(apply(x.x, y.x, z.x), apply(x.y, y.y, z.y), apply(x.z, y.z, z.z), apply(x.w, y.w, z.w));
        } else {
            for (uint i = 0; i < min(4u, WIDTH - begin); i++) {
#if OP == 1
                out[at + i] = apply(a[at + i], b[at + i], c[at + i]);
#elif OP == 4
                out[at + i] = apply(a[at + i], 0.0f, 0.0f);
#else
                out[at + i] = apply(a[at + i], b[at + i], 0.0f);
#endif
            }
        }
    }
}
