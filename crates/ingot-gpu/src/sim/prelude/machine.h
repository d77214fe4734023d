// The machine that runs a launch: threadgroups one after the other, each thread a fiber on
// its own small stack, switched at barriers and simdgroup functions.
//
// Everything lies in one region, aligned to its size, with the machine at its beginning and
// the stacks behind it. The machine is therefore found from the stack pointer: no
// thread-local variables, which are slow in a shared library, and no argument through every
// function of a kernel.
namespace msl {
namespace sim {

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __UINTPTR_TYPE__ uptr;

constexpr uptr REGION = uptr(128) << 20, STACKS = uptr(1) << 20, STACK = uptr(64) << 10;
constexpr u32 MAX_THREADS = 1024, MAX_ARRAYS = 64, SHARED_BYTES = 32 << 10;
constexpr u64 ACCESSES = u64(1) << 28; // of one operand by one threadgroup; more is an endless loop
constexpr u64 SWITCHES = u64(1) << 27; // of fibers by one threadgroup

// Who touched a byte last, see memory.h.
struct Cell { u64 write, read; };

// ---- what the host passes; the twins of these are in sim/launch.rs
enum Access : u32 { READ, WRITE, UPDATE };

struct Operand {
    u8* first;      // of its bytes
    u64 bytes;
    u8* base;       // where its buffer begins
    Cell* words;    // shadow of the buffer: a cell for each 4 bytes...
    Cell* each;     // ...and for each byte, where a word is not touched as a whole
    u64* written;   // a bit for each byte of the buffer that anybody ever wrote
    u64 fuel;       // accesses left
    const char* name;
    u32 access;
    u32 complete;   // every byte was written before the launch
    u32 shared;     // overlaps an operand that is written
    u32 early;      // may be read before grid_dependency_wait
    u32 plain;      // now: reads need no more than bounds and alignment
    u32 touched;
};

struct Launch {
    void* region;
    Operand* operands;
    const u32* constants;
    char* message;      // out
    u64 message_bytes;
    u64 seed;
    u64 epoch;          // in and out
    u64 place;          // out: where in the library it failed, 0 if not known
    u32 line;           // out: of the source, if known
    u32 operand_count;
    u32 grid[3];
    u32 threads;
};

// ---- fibers
extern "C" __attribute__((visibility("hidden"))) void ingot_sim_switch(void** from, void* to);
#ifdef __APPLE__
#define SYMBOL "_ingot_sim_switch"
#else
#define SYMBOL "ingot_sim_switch"
#endif
#if defined(__x86_64__)
asm(".text\n.p2align 4\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
// A stack on which the switch returns into `entry`.
INLINE void* fresh_stack(u8* top, void (*entry)()) {
    void** sp = (void**)top;
    *--sp = nullptr; // a function begins 8 bytes off a multiple of 16
    *--sp = (void*)entry;
    for (int i = 0; i < 6; i++) *--sp = nullptr;
    return sp;
}
#elif defined(__aarch64__)
asm(".text\n.p2align 4\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "sub sp, sp, #160\n"
    "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n"
    "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\n"
    "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\nret\n");
INLINE void* fresh_stack(u8* top, void (*entry)()) {
    void** sp = (void**)top - 20;
    for (int i = 0; i < 20; i++) sp[i] = nullptr;
    sp[11] = (void*)entry;
    return sp;
}
#else
#error "the simulator switches stacks on x86-64 and aarch64 only"
#endif
#undef SYMBOL

// ---- the machine
struct Group { // a simdgroup; lanes are bits in the order in which they run
    u32 runnable, meeting, at_barrier, ended;
    u32 op, line;            // where its lanes meet
    u32 round;               // which half of the values is in use
    u32 device_part, shared_part; // simdgroup barriers since the last of the threadgroup
    alignas(16) u8 result[2][16];
};
struct Shared { // a threadgroup array
    u8* first;
    u64 bytes;
    const char* name;
};
struct alignas(16) Value { u8 bytes[16]; };

struct Machine {
    Launch* launch;
    void (*body)();
    void* host;              // the stack that waits for the threadgroup
    void* dropped;           // where a stack pointer goes that nobody needs again
    u32 current, group, position, group_position;
    u32 threads, groups, ended, barrier_threads, barrier_line, barrier_flags, waited, failed;
    u32 ready;               // simdgroups with a runnable lane, in the order in which they run
    u32 lane_factor, lane_offset;
    u32 at[3];               // this threadgroup
    u64 switches;
    u64 epoch, device_epoch, shared_epoch;
    u64 launch_begin, group_begin;  // stamps, see memory.h
    u64 device_stamp, shared_stamp; // of the running thread
    u64 shared_used, shared_fuel;
    u32 group_at[32];        // simdgroup by position
    u32 position_of[32];     // and the reverse
    Group group_of[32];
    Shared arrays[MAX_ARRAYS];
    void* stack[MAX_THREADS];
    u8 has_waited[MAX_THREADS];
    Value values[2][MAX_THREADS];
    alignas(64) u8 shared[SHARED_BYTES];
    alignas(64) Cell shared_words[SHARED_BYTES / 4];
    Cell shared_each[SHARED_BYTES];

    Group& here() { return group_of[group]; }
    u32 thread_at(u32 g, u32 p) const { return g * 32 + (lane_factor * p + lane_offset) % 32; }
};
static_assert(sizeof(Machine) <= STACKS, "the machine does not fit before the stacks");

INLINE Machine& machine() { return *(Machine*)(uptr(__builtin_frame_address(0)) & ~(REGION - 1)); }

extern "C" int snprintf(char*, unsigned long, const char*, ...);

#ifdef __ELF__
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start; // where the library was loaded
INLINE u64 in_library(void* address) { return u64(address) - u64(&__ehdr_start) - 1; }
#else
INLINE u64 in_library(void*) { return 0; }
#endif

// Ends the launch. The message was written to launch->message.
[[noreturn]] COLD static void stop(void* place, u32 line) {
    Machine& m = machine();
    m.launch->place = in_library(place);
    m.launch->line = line;
    m.failed = 1;
    ingot_sim_switch(&m.dropped, m.host);
    __builtin_unreachable();
}
// Says who failed before it says how.
#define SIM_FAIL(line, ...)                                                                       \
    do {                                                                                          \
        Machine& fm = machine();                                                                  \
        const int used = snprintf(fm.launch->message, fm.launch->message_bytes,                   \
            "threadgroup (%u, %u, %u), thread %u: ", fm.at[0], fm.at[1], fm.at[2], fm.current);   \
        snprintf(fm.launch->message + used, fm.launch->message_bytes - u64(used), __VA_ARGS__);   \
        stop(__builtin_return_address(0), line);                                                  \
    } while (0)

// ---- what the compiler's own checks call when they fail
struct SourcePlace { const char* file; u32 line, column; };
struct TypeName { u16 kind, info; char text[1]; };
struct BoundsData { SourcePlace place; const TypeName *array, *index; };
#define CHECK_FAILED extern "C" __attribute__((visibility("hidden"), noinline, cold)) void
CHECK_FAILED __ubsan_handle_out_of_bounds_abort(void* data, void* index) {
    const BoundsData& d = *(const BoundsData*)data;
    SIM_FAIL(d.place.line, "index %lld of an array of %s", (long long)(int)uptr(index), d.array->text);
}
CHECK_FAILED __ubsan_handle_shift_out_of_bounds_abort(void* data, void*, void* by) {
    SIM_FAIL(((const SourcePlace*)data)->line, "shift by %lld bits", (long long)(int)uptr(by));
}
CHECK_FAILED __ubsan_handle_divrem_overflow_abort(void* data, void*, void*) {
    SIM_FAIL(((const SourcePlace*)data)->line, "division of integers by zero");
}
#undef CHECK_FAILED

constexpr u32 EPOCH_SHIFT = 29, PART_SHIFT = 13; // of stamps, see memory.h

INLINE void stamp(Machine& m) {
    const Group& g = m.here();
    m.device_stamp = m.device_epoch << EPOCH_SHIFT | u64(g.device_part) << PART_SHIFT | m.current;
    m.shared_stamp = m.shared_epoch << EPOCH_SHIFT | u64(g.shared_part) << PART_SHIFT | m.current;
}

// The next lane after position p among those of the mask, cyclically.
INLINE u32 next_bit(u32 mask, u32 p) {
    const u32 later = mask & (p >= 31 ? 0u : ~0u << (p + 1));
    return u32(__builtin_ctz(later ? later : mask));
}

enum Op : u32 { SUM, MAX, MIN, BROADCAST, SHUFFLE, SHUFFLE_XOR, SHUFFLE_DOWN, PREFIX_SUM, BARRIER };
static const char* const OP_NAMES[] = {"simd_sum", "simd_max", "simd_min", "simd_broadcast",
    "simd_shuffle", "simd_shuffle_xor", "simd_shuffle_down", "simd_prefix_exclusive_sum", "simdgroup_barrier"};

// No thread can go on, and not all have ended: says which waits for which.
[[noreturn]] COLD static void stuck(Machine& m) {
    for (u32 g = 0; g < m.groups; g++) {
        Group& s = m.group_of[g];
        if (!s.meeting) continue;
        const u32 missing = m.thread_at(g, u32(__builtin_ctz(~s.meeting)));
        const bool ended = s.ended & ~s.meeting;
        m.current = m.thread_at(g, u32(__builtin_ctz(s.meeting)));
        SIM_FAIL(s.line, "%s was not reached by all lanes of simdgroup %u: thread %u %s", OP_NAMES[s.op % 16], g,
            missing, ended ? "has ended" : "waits at a threadgroup_barrier");
    }
    u32 missing = 0, waiting = 0;
    for (u32 g = 0; g < m.groups; g++) {
        if (m.group_of[g].ended) missing = m.thread_at(g, u32(__builtin_ctz(m.group_of[g].ended)));
        if (m.group_of[g].at_barrier) waiting = m.thread_at(g, u32(__builtin_ctz(m.group_of[g].at_barrier)));
    }
    m.current = waiting;
    SIM_FAIL(m.barrier_line, "threadgroup_barrier was not reached by all threads: thread %u has ended", missing);
}

// Goes on with another thread; comes back when this one is runnable and its turn has come.
__attribute__((noinline)) static void park() {
    Machine& m = machine();
    const u32 me = m.current;
    u32 g = m.group, p;
    if (m.group_of[g].runnable) {
        p = next_bit(m.group_of[g].runnable, m.position);
    } else {
        m.ready &= ~(1u << m.group_position);
        if (!m.ready) {
            if (m.ended != m.threads) stuck(m);
            ingot_sim_switch(&m.dropped, m.host);
            __builtin_unreachable();
        }
        m.group_position = next_bit(m.ready, m.group_position);
        g = m.group = m.group_at[m.group_position];
        p = next_bit(m.group_of[g].runnable, 31);
    }
    if (++m.switches > SWITCHES) SIM_FAIL(0, "endless loop: the threadgroup does not come to an end");
    m.position = p;
    m.current = m.thread_at(g, p);
    stamp(m);
    ingot_sim_switch(&m.stack[me], m.stack[m.current]);
}

static void fiber() {
    Machine& m = machine();
    m.body();
    if (!m.has_waited[m.current]) SIM_FAIL(0, "ended without grid_dependency_wait()");
    Group& g = m.here();
    g.runnable &= ~(1u << m.position);
    g.ended |= 1u << m.position;
    m.ended++;
    park();
}

// ---- a launch
struct Random {
    u64 state;
    u32 below(u32 n) {
        state += 0x9e3779b97f4a7c15;
        u64 z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return u32((z >> 32) * n >> 32);
    }
};
static u32 common_divisor(u32 a, u32 b) { return b ? common_divisor(b, a % b) : a; }
// A factor f so that i -> f * i is a permutation of the numbers below n.
static u32 permuting_factor(Random& random, u32 n) {
    u32 f = 1 + random.below(n);
    while (common_divisor(f, n) != 1) f = f % n + 1;
    return f;
}

static void begin_threadgroup(Machine& m, Random random) {
    m.lane_factor = random.below(16) * 2 + 1;
    m.lane_offset = random.below(32);
    const u32 factor = permuting_factor(random, m.groups), offset = random.below(m.groups);
    for (u32 i = 0; i < m.groups; i++) {
        const u32 g = (factor * i + offset) % m.groups;
        m.group_at[i] = g;
        m.position_of[g] = i;
        Group& s = m.group_of[g];
        s.runnable = ~0u;
        s.meeting = s.at_barrier = s.ended = s.round = s.device_part = s.shared_part = 0;
    }
    m.ready = m.groups == 32 ? ~0u : (1u << m.groups) - 1;
    m.ended = m.barrier_threads = m.waited = 0;
    m.switches = 0;
    m.shared_used = 0;
    m.shared_fuel = ACCESSES;
    m.device_epoch = m.shared_epoch = ++m.epoch;
    m.group_begin = m.epoch << EPOCH_SHIFT;
    for (u32 k = 0; k < MAX_ARRAYS; k++) m.arrays[k].first = nullptr;
    u8* const stacks = (u8*)&m + STACKS;
    for (u32 t = 0; t < m.threads; t++) {
        m.has_waited[t] = 0;
        // Tops at different distances from a power of two, or all would share a few cache lines.
        m.stack[t] = fresh_stack(stacks + (t + 1) * STACK - (t % 64) * 192, fiber);
    }
    for (u32 i = 0; i < m.launch->operand_count; i++) {
        Operand& o = m.launch->operands[i];
        o.fuel = ACCESSES;
        o.plain = o.access == READ && o.complete && !o.shared && o.early;
    }
    m.group_position = 0;
    m.group = m.group_at[0];
    m.position = 0;
    m.current = m.thread_at(m.group, 0);
    stamp(m);
}

static bool check_results(Machine& m);

static int run(Launch* launch, void (*body)()) {
    Machine& m = *(Machine*)launch->region;
    m.launch = launch;
    m.body = body;
    m.failed = 0;
    m.threads = launch->threads;
    m.groups = launch->threads / 32;
    m.epoch = launch->epoch + 1;
    m.launch_begin = m.epoch << EPOCH_SHIFT;
    const u32 count = launch->grid[0] * launch->grid[1] * launch->grid[2];
    Random random = {launch->seed};
    const u32 factor = permuting_factor(random, count), offset = random.below(count);
    for (u32 i = 0; i < count && !m.failed; i++) {
        const u32 n = u32((u64(factor) * i + offset) % count);
        m.at[0] = n % launch->grid[0];
        m.at[1] = n / launch->grid[0] % launch->grid[1];
        m.at[2] = n / launch->grid[0] / launch->grid[1];
        begin_threadgroup(m, Random{launch->seed + n});
        ingot_sim_switch(&m.host, m.stack[m.current]);
        for (u32 k = 0; k < launch->operand_count; k++)
            launch->operands[k].touched |= launch->operands[k].fuel != ACCESSES;
    }
    launch->epoch = m.epoch;
    return m.failed || !check_results(m);
}

} // namespace sim
} // namespace msl
