// What sampling kernels share: the parameters of a sequence, logits as ordered
// keys, probabilities as integers. The twin of the parameters is
// crates/ingot-gpu/src/launches/sample.rs; what they mean is defined in
// crates/ingot-engine/src/sampler.
#pragma once
#include "ingot.h"

// Words of a sequence's parameters.
#define SAMPLE_FLAGS 0
#define SAMPLE_TEMPERATURE 1 // float; 0 takes the highest logit
#define SAMPLE_TOP_K 2       // 0: all
#define SAMPLE_TOP_P 3       // float
#define SAMPLE_MIN_P 4       // float
#define SAMPLE_REPETITION 5  // float
#define SAMPLE_FREQUENCY 6   // float
#define SAMPLE_PRESENCE 7    // float
#define SAMPLE_SEED_LOW 8
#define SAMPLE_SEED_HIGH 9
#define SAMPLE_COUNTER 10    // random numbers used so far
#define SAMPLE_TABLE 11      // row of the tables of counts and of history
#define SAMPLE_WINDOW 12     // tokens that penalties look back on; at most HISTORY of `advance`, or all: ALL_TOKENS
#define SAMPLE_FILLED 13     // tokens in the history
#define SAMPLE_CURSOR 14     // where the history's next token goes
#define SAMPLE_ENDS_AT 15    // where in the list of all its end tokens are: how many, their ids
#define SAMPLE_WRITTEN 16    // entries of the ring so far
#define SAMPLE_WORDS 20

// Flags.
#define SAMPLE_LOGPROB 1 // the log-probability is wanted
#define SAMPLE_ENDED 2   // an end token was sampled

// Option PENALTIES: 0 if no sequence of the step has any; counts and history are then unused.
#ifndef PENALTIES
#define PENALTIES 0
#endif

#define ALL_TOKENS 0xffffffffu

/// What a token is if it cannot be chosen: less than every key of a finite logit.
#define IMPOSSIBLE 0x007fffffu

/// A logit as an integer in the same order: NaN is 0, minus infinity IMPOSSIBLE, -0 is 0,
/// infinity is the largest finite number.
inline uint key_of(float x) {
    uint bits = as_type<uint>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0;
    }
    if (bits == 0x7f800000u) {
        bits = 0x7f7fffffu;
    }
    if (bits == 0x80000000u) {
        bits = 0;
    }
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

inline float value_of(uint key) { return as_type<float>((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key); }

/// What is done to the logits of tokens that occurred before.
struct Penalties {
    float repetition, frequency, presence;
};

inline Penalties penalties_of(device const uint* p) {
    Penalties penalties;
    penalties.repetition = as_type<float>(p[SAMPLE_REPETITION]);
    penalties.frequency = as_type<float>(p[SAMPLE_FREQUENCY]);
    penalties.presence = as_type<float>(p[SAMPLE_PRESENCE]);
    return penalties;
}

/// The logit of a token that occurred `count` times.
inline float penalized(float x, uint count, Penalties p) {
    const float repeated = x > 0.0f ? x / p.repetition : x * p.repetition;
    return count == 0 ? x : repeated - (float(count) * p.frequency + p.presence);
}

/// A probability up to a common factor, as an integer: sums do not depend on their order. The
/// largest is 2^44, 2^19 of them fit, and what is less than 2^-44 of it is none.
inline ulong weight_of(float x, float largest, float temperature) {
    return ulong(exp((x - largest) / temperature) * 17592186044416.0f);
}

/// SplitMix64's finalizer.
inline ulong mix(ulong z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
    z = (z ^ z >> 27) * 0x94d049bb133111ebul;
    return z ^ z >> 31;
}

/// Random number i of a seed: crates/ingot-engine/src/rng.rs.
inline ulong random_number(ulong seed, uint i) { return mix(mix(seed) + (ulong(i) + 1) * 0x9e3779b97f4a7c15ul); }

/// The upper 64 bits of a product.
inline ulong multiply_high(ulong a, ulong b) {
    const ulong low = 0xffffffffu, a0 = a & low, a1 = a >> 32, b0 = b & low, b1 = b >> 32;
    const ulong middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & low);
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

/// What decides among the candidates of a row, all the same in all threads.
struct Choice {
    uint top_k;
    float top_p, min_p, temperature;
    float largest; // logit
    ulong weight;  // of all tokens at temperature 1, if that is needed: TOP_P_OF_ALL
    ulong number;  // random
};

/// Top-p of everything, not of what top-k left.
#define TOP_P_OF_ALL(choice) ((choice).top_k == 0 && (choice).top_p < 1.0f)

/// The weight that top-p wants of a total: p in units of 2^-32, the product rounded up.
inline ulong share_of(ulong total, float p) {
    const ulong share = ulong(p * 4294967296.0f);
    return max((total >> 32) * share + (((total & 0xffffffffu) * share + 0xffffffffu) >> 32), ulong(1));
}
