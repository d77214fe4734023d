// A head of a query or key on its way through an optional norm and the rotation, by one
// simdgroup: lane l has the values l, l + 32... of a head, N <= 256.
//
// Constants of the kernel that includes this: N; PAIRS (that are turned, the rest of the head
// passes unchanged); HALVES (1: pairs are (j, j + PAIRS), 0: (2 j, 2 j + 1)); TURN_SCALE (on sine
// and cosine, which are precise, because angles are as large as the position).
#pragma once
#include "ingot.h"

#define VALUES 8 // of a lane, at most

/// The other value of value i's pair.
inline uint partner(uint i) {
    if (HALVES != 0) {
        return i < PAIRS ? i + PAIRS : i - PAIRS;
    }
    return i ^ 1;
}

/// A lane's values of a head, and the other ones of their pairs.
struct Head {
    float own[VALUES], other[VALUES];
};

/// The head at x, or zeros. `turns`: its pairs will be turned.
inline void head_load(thread Head& head, bool ok, device const float* x, bool turns, uint lane) {
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        const uint i = 32 * e + lane;
        head.own[e] = ok && i < N ? x[i] : 0.0f;
        head.other[e] = ok && turns && i < 2 * PAIRS ? x[partner(i)] : 0.0f;
    }
}

/// x / sqrt(mean(x^2) + eps) * weight
inline void head_norm(thread Head& head, device const float* weight, float eps, uint lane) {
    float squares = 0.0f;
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        squares = fma(head.own[e], head.own[e], squares);
    }
    const float scale = 1.0f / sqrt(simd_sum(squares) / float(N) + eps);
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        const uint i = 32 * e + lane;
        head.own[e] = i < N ? head.own[e] * (scale * weight[i]) : 0.0f;
        head.other[e] = i < 2 * PAIRS ? head.other[e] * (scale * weight[partner(i)]) : 0.0f;
    }
}

/// Turns of a lane's values; the sign of the sine is that of the partner's share.
struct Turn {
    float cosine[VALUES], sine[VALUES];
};

inline void turn_at(thread Turn& turn, device const float* frequencies, uint position, uint lane) {
#pragma unroll
    for (uint e = 0; e < VALUES; e++) {
        const uint i = 32 * e + lane;
        turn.cosine[e] = 1.0f;
        turn.sine[e] = 0.0f;
        if (i < 2 * PAIRS) {
            const uint pair = HALVES != 0 ? i % PAIRS : i / 2;
            const bool first = partner(i) > i;
            const float angle = float(position) * frequencies[pair];
            const float sine = precise::sin(angle) * TURN_SCALE;
            turn.cosine[e] = precise::cos(angle) * TURN_SCALE;
            turn.sine[e] = first ? -sine : sine;
        }
    }
}

/// Value e of the lane, turned.
inline float turned(thread const Head& head, thread const Turn& turn, uint e) {
    return head.own[e] * turn.cosine[e] + head.other[e] * turn.sine[e];
}
