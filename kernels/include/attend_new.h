// What attention does first where queries come as they are projected and the keys and values of the
// step's rows are not in the cache yet. A simdgroup has a task: a query head of the threadgroup, or
// behind these the new key (HEADS) or value (HEADS + 1).
// Constants of the kernel: those of turn.h, GROUP, Q_NORM, K_NORM, Q_EPS, K_EPS.
#pragma once
#include "cache.h"
#include "turn.h"

/// A row's heads that a threadgroup looks after.
struct New {
    device const float* q; // [GROUP, N]
    device const float* k; // [N]
    device const float* v; // [N]
    device const float* q_weight;    // [N]
    device const float* k_weight;    // [N]
    device const float* frequencies; // [PAIRS]
};

/// The head of a task; zeros for query heads that the group does not have, and where there is no task.
inline void new_head(thread Head& head, thread const New& new_row, uint task, uint lane) {
    if (task < HEADS) {
        head_load(head, task < GROUP, new_row.q + task * N, true, lane);
    } else {
        head_load(head, task < HEADS + 2, task == HEADS ? new_row.k : new_row.v, task == HEADS, lane);
    }
}

/// Turns the query heads into `queries` [HEADS, N], and stores the key and the value in rows of the
/// cache from `column` on if `stores`. `head` is that of the simdgroup's first task.
inline void new_turned(thread Head& head, thread const New& new_row, uint position, bool stores, device uchar* key,
                       device uchar* value, uint column, threadgroup float* queries, uint simdgroup, uint lane) {
    Turn turn;
    turn_at(turn, new_row.frequencies, position, lane);
    for (uint task = simdgroup; task < (stores ? HEADS + 2 : HEADS); task += SIMDGROUPS) {
        const bool is_q = task < HEADS, is_v = task == HEADS + 1;
        if (task != simdgroup) {
            new_head(head, new_row, task, lane);
        }
        if (is_q ? Q_NORM != 0 : K_NORM != 0 && !is_v) {
            head_norm(head, is_q ? new_row.q_weight : new_row.k_weight, is_q ? Q_EPS : K_EPS, lane);
        }
#pragma unroll
        for (uint e = 0; e < VALUES; e++) {
            const uint i = 32 * e + lane;
            const float y = is_v ? head.own[e] : turned(head, turn, e);
            if (is_q && i < N) {
                queries[task * N + i] = y;
            }
            if (!is_q && 32 * e < N) {
                cache_store(is_v ? value : key, column + 32 * e, lane, y, i < N);
            }
        }
    }
}
