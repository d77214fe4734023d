// Puts the last rows of up to 16 token shifts into their slots, see shift.metal:
//
//   state_i[slot of s] = next[i][s]
//
// next: [shifts of this launch][S][COLS]; state_i: [slots][COLS]; f32.
// Grid: COLS / 256 rounded up x S x shifts. Threads: 256.
//
// Reference: crates/ingot-plan/src/ops/token_shift.rs
#include "step.h"

constant uint COLS [[function_constant(0)]];

kernel void shift_commit(device const float* next [[buffer(0)]],
                         device const uint* step [[buffer(1)]],
                         device float* state0 [[buffer(2)]],
                         device float* state1 [[buffer(3)]],
                         device float* state2 [[buffer(4)]],
                         device float* state3 [[buffer(5)]],
                         device float* state4 [[buffer(6)]],
                         device float* state5 [[buffer(7)]],
                         device float* state6 [[buffer(8)]],
                         device float* state7 [[buffer(9)]],
                         device float* state8 [[buffer(10)]],
                         device float* state9 [[buffer(11)]],
                         device float* state10 [[buffer(12)]],
                         device float* state11 [[buffer(13)]],
                         device float* state12 [[buffer(14)]],
                         device float* state13 [[buffer(15)]],
                         device float* state14 [[buffer(16)]],
                         device float* state15 [[buffer(17)]],
                         uint3 group [[threadgroup_position_in_grid]],
                         uint3 groups [[threadgroups_per_grid]],
                         uint thread_index [[thread_index_in_threadgroup]]) {
    grid_dependency_wait();
    device float* state = state0;
    if (group.z == 1) {
        state = state1;
    }
    if (group.z == 2) {
        state = state2;
    }
    if (group.z == 3) {
        state = state3;
    }
    if (group.z == 4) {
        state = state4;
    }
    if (group.z == 5) {
        state = state5;
    }
    if (group.z == 6) {
        state = state6;
    }
    if (group.z == 7) {
        state = state7;
    }
    if (group.z == 8) {
        state = state8;
    }
    if (group.z == 9) {
        state = state9;
    }
    if (group.z == 10) {
        state = state10;
    }
    if (group.z == 11) {
        state = state11;
    }
    if (group.z == 12) {
        state = state12;
    }
    if (group.z == 13) {
        state = state13;
    }
    if (group.z == 14) {
        state = state14;
    }
    if (group.z == 15) {
        state = state15;
    }
    uint c = 256 * group.x + thread_index;
    if (c < COLS) {
        float value = next[ulong(group.z * groups.y + group.y) * COLS + c];
        state[ulong(sequence_slot(step, group.y)) * COLS + c] = value;
    }
}
