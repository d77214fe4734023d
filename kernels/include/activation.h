// Functions of single values that are worked into products.
// Twins: crates/ingot-plan/src/ops/{linear,glu,softcap}.rs.
#pragma once
#include "ingot.h"

#define ACTIVATION_NONE 0
#define ACTIVATION_TANH 1
#define ACTIVATION_SIGMOID 2
#define ACTIVATION_SQUARED_RELU 3

/// A function of a product.
inline float activated(float v, uint activation) {
    if (activation == ACTIVATION_TANH) return tanh(v);
    if (activation == ACTIVATION_SIGMOID) return 1.0f / (1.0f + exp(-v));
    if (activation == ACTIVATION_SQUARED_RELU) return max(v, 0.0f) * max(v, 0.0f);
    return v;
}

/// Gates of gated linear units.
inline float silu(float x) { return x / (1.0f + exp(-x)); }
inline float gelu(float x) { return x / (1.0f + exp(-1.5957691f * x * fma(0.044715f * x, x, 1.0f))); }

/// The gate that the option GLU names: 1 silu, 2 gelu.
inline float gated(float x) {
#if GLU == 2
    return gelu(x);
#else
    return silu(x);
#endif
}

/// v, softly kept between -cap and cap; 0 is no cap.
inline float soft_capped(float v, float cap) { return cap == 0.0f ? v : cap * tanh(v / cap); }
