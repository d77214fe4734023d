// Functions of single values that are worked into products.
// Twins: crates/ingot-plan/src/ops/{linear,glu}.rs.
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

/// The gate of a gated linear unit.
inline float silu(float x) { return x / (1.0f + exp(-x)); }
