// One token for each output row:
//
//   penalties, then at temperature 0 the highest logit, the lowest id among equals; otherwise top-k,
//   top-p and min-p on the probabilities at temperature 1, then a draw at the temperature.
//
// The sets that the filters keep and the distribution are those of crates/ingot-engine/src/sampler; its
// random number i is used for draw i, but here it falls on the kept tokens in the order of their ids.
// Probabilities are integers, so that all sums are exact and no order of additions matters.
//
// A simdgroup has a range of the vocabulary and lists in its part of `candidates` the tokens that can
// still be chosen. What cannot be among the best k is left out: the k-th best of the threads' best logits
// is a lower bound. The same with TRIED instead of k serves top-p, unless those turn out to have too
// little of the probability: then all tokens are listed. Lists that are not longer than the threadgroup
// are ranked, others searched.
// Threads: 1024. Grid: O.
// variants: PENALTIES=1
#include "ingot.h"
#include "ranked.h"
#include "reduce.h"
#include "sampling.h"
#include "step.h"

#define TRIED 128

constant uint VOCAB [[function_constant(0)]];
constant uint COUNTS [[function_constant(1)]]; // length of a row of counts, a multiple of 8

/// A key that at least `wanted` of the threads' best keys reach, nearly the highest.
inline uint bound_of(threadgroup const uint* best, uint wanted, uint lane) {
    uint bound = 0;
    for (uint bit = 0x80000000u; bit >= 0x10000u; bit /= 2) {
        uint reached = 0;
#pragma unroll
        for (uint e = 0; e < PARTS; e++) {
            reached += best[32 * e + lane] >= (bound | bit) ? 1 : 0;
        }
        bound = simd_sum(reached) >= wanted ? bound | bit : bound;
    }
    return bound;
}

kernel void sample(device const float* logits [[buffer(0)]],  // [O, VOCAB]
                   device const uint* params [[buffer(1)]],   // [S, SAMPLE_WORDS]
                   device const ushort* counts [[buffer(2)]], // [tables, COUNTS]
                   device const uint* step [[buffer(3)]],
                   device uint2* candidates [[buffer(4)]], // [O, VOCAB]: key, id
                   device uint* result [[buffer(5)]],      // [O, 2]: token, log-probability
                   uint o [[threadgroup_position_in_grid]],
                   uint thread_index [[thread_index_in_threadgroup]],
                   uint simdgroup [[simdgroup_index_in_threadgroup]],
                   uint lane [[thread_index_in_simdgroup]]) {
    threadgroup ulong shared[REDUCE_MAX];
    threadgroup float values[REDUCE_MAX];
    threadgroup uint best[1024];
    threadgroup uint ids[RANKED];
    threadgroup ulong weights[RANKED];
    threadgroup uint found[1];
    grid_dependency_wait();
    if (o >= step_outputs(step)) {
        return; // the whole threadgroup
    }
    device const uint* p = params + row_sequence(step, output_row(step, o)) * SAMPLE_WORDS;
    device const float* row = logits + ulong(o) * VOCAB;
    device const ushort* row_counts = counts + ulong(p[SAMPLE_TABLE]) * COUNTS;
    const Penalties penalties = penalties_of(p);
    const bool logprob = (p[SAMPLE_FLAGS] & SAMPLE_LOGPROB) != 0;
    const float impossible = as_type<float>(0xff800000u);
    const uint begin = min(simdgroup * part_length(VOCAB), VOCAB), end = min(begin + part_length(VOCAB), VOCAB);

    // The best of each thread, and of the logits as they came ln(sum of e^logit).
    uint own_key = 0, own_id = begin + 8 * lane;
    float largest = as_type<float>(0xff7fffffu), total = 0.0f;
    for (uint i = begin + 8 * lane; i < end; i += ROUND) {
        float x[8];
        load_logits(row, i, VOCAB, x);
        if (logprob) {
            float top = largest, sum = 0.0f;
#pragma unroll
            for (uint e = 0; e < 8; e++) {
                top = max(top, value_of(max(key_of(x[e]), IMPOSSIBLE)));
            }
#pragma unroll
            for (uint e = 0; e < 8; e++) {
                sum += exp(value_of(max(key_of(x[e]), IMPOSSIBLE)) - top);
            }
            total = fma(total, exp(largest - top), sum);
            largest = top;
        }
        penalize(row_counts, i, VOCAB, penalties, x);
#pragma unroll
        for (uint e = 0; e < 8; e++) {
            const uint key = key_of(x[e]);
            own_id = key > own_key ? i + e : own_id;
            own_key = max(own_key, key);
        }
    }
    best[thread_index] = own_key;
    if (logprob) {
        const float top = threadgroup_max(largest, values, simdgroup, lane, PARTS);
        total = log(threadgroup_sum(total * exp(largest - top), values, simdgroup, lane, PARTS));
        largest = top;
    }
    // The best of all: the highest key, then the lowest id.
    const uint key = simd_max(own_key), id = simd_min(own_key == key ? own_id : VOCAB);
    const ulong rank = ulong(key) << 32 | ulong(0xffffffffu - id);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = rank;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ulong first = 0;
#pragma unroll
    for (uint s = 0; s < PARTS; s++) {
        first = max(first, shared[s]);
    }
    const uint best_key = uint(first >> 32);
    uint token = 0xffffffffu - uint(first);

    const float temperature = as_type<float>(p[SAMPLE_TEMPERATURE]);
    if (temperature > 0.0f && best_key > IMPOSSIBLE) {
        const ulong seed = ulong(p[SAMPLE_SEED_HIGH]) << 32 | ulong(p[SAMPLE_SEED_LOW]);
        Choice choice;
        choice.top_k = p[SAMPLE_TOP_K];
        choice.top_p = as_type<float>(p[SAMPLE_TOP_P]);
        choice.min_p = as_type<float>(p[SAMPLE_MIN_P]);
        choice.temperature = max(temperature, 1.2e-38f); // division by less is not the same everywhere
        choice.largest = value_of(best_key);
        choice.weight = 0;
        choice.number = random_number(seed, p[SAMPLE_COUNTER]) >> 11 << 11; // 53 bits, as on the host
        uint bound = IMPOSSIBLE + 1;
        const uint wanted = choice.top_k != 0 ? choice.top_k : choice.top_p < 1.0f ? TRIED : VOCAB;
        if (wanted <= 1024) {
            bound = max(bound, bound_of(best, wanted, lane));
        }
        if (choice.top_p >= 1.0f && choice.min_p > 0.0f) {
            // What is surely less probable; top-p would have to know it.
            const float slack = 1e-3f + 1e-6f * fabs(choice.largest);
            bound = max(bound, key_of(choice.largest + log(choice.min_p) - slack));
        }
        device uint2* items = candidates + ulong(o) * VOCAB + begin;
        bool enough = false;
        while (!enough) {
            // The list is used by all lanes of its simdgroup.
            threadgroup_barrier(mem_flags::mem_device);
            const uint count =
                list_candidates(row, row_counts, penalties, VOCAB, begin, end, bound, items, choice, lane);
            threadgroup_barrier(mem_flags::mem_device);
            const ulong before = simdgroups_before_ulong(count, shared, simdgroup, lane);
            const ulong all = threadgroup_sum_ulong(lane == 0 ? count : 0, shared, simdgroup, lane, PARTS);
            if (TOP_P_OF_ALL(choice)) {
                choice.weight = threadgroup_sum_ulong(choice.weight, shared, simdgroup, lane, PARTS);
            }
            enough = true;
            if (all <= RANKED) {
                token = draw_ranked(items, count, uint(before), uint(all), choice, best, ids, weights, shared,
                                    found, simdgroup, lane, enough);
            } else {
                token = draw_listed(items, count, choice, shared, found, simdgroup, lane, enough);
            }
            bound = IMPOSSIBLE + 1; // for the second time, if it was not enough
        }
    } else if (thread_index == 0) {
        candidates[ulong(o) * VOCAB] = uint2(best_key, token); // the only one
    }
    if (thread_index == 0) {
        const float x = value_of(max(key_of(row[token]), IMPOSSIBLE));
        result[2 * o] = token;
        result[2 * o + 1] = as_type<uint>(logprob ? (x - largest) - total : impossible);
    }
}
