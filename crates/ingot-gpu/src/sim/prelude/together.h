// What threads do together: barriers, simdgroup functions, the wait for earlier launches.
namespace msl {

enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
INLINE mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }

namespace sim {

// All lanes of a simdgroup come here before any goes on; true for the last.
__attribute__((noinline)) static bool meet(u32 op, u32 line) {
    Machine& m = machine();
    Group& g = m.here();
    if (!g.meeting) {
        g.op = op;
        g.line = line;
    } else if (g.op != op || g.line != line) {
        SIM_FAIL(line, "%s was not reached by all lanes of simdgroup %u: thread %u waits at %s in line %u",
            OP_NAMES[op % 16], m.group, m.thread_at(m.group, u32(__builtin_ctz(g.meeting))), OP_NAMES[g.op % 16], g.line);
    }
    const u32 me = 1u << m.position;
    g.meeting |= me;
    if (g.meeting == ~0u) {
        g.meeting = 0;
        g.runnable = ~0u;
        g.round ^= 1;
        return true;
    }
    g.runnable &= ~me;
    park();
    return false;
}

// The values that the lanes bring are kept twice, so that a lane may bring the next while
// others still look at this.
template <class T> INLINE T& value_of(u32 round, u32 thread) {
    static_assert(sizeof(T) <= sizeof(Value), "too large for a simdgroup function");
    return *(T*)machine().values[round][thread].bytes;
}
template <class T, class F> INLINE T reduce(u32 op, u32 line, T v, F combine) {
    Machine& m = machine();
    Group& g = m.here();
    const u32 round = g.round;
    value_of<T>(round, m.current) = v;
    T& result = *(T*)g.result[round];
    if (meet(op, line)) {
        T all[32];
        for (u32 i = 0; i < 32; i++) all[i] = value_of<T>(round, m.group * 32 + i);
        // in the order of an exchange between lanes 16, 8, 4, 2, 1 apart
        for (u32 step = 16; step; step /= 2)
            for (u32 i = 0; i < step; i++) all[i] = combine(all[i], all[i + step]);
        result = all[0];
    }
    return result;
}
template <class T> INLINE T exchange(u32 op, u32 line, T v, u32 from) {
    Machine& m = machine();
    const u32 round = m.here().round, base = m.group * 32;
    if (from >= 32) SIM_FAIL(line, "%s from lane %u", OP_NAMES[op], from);
    value_of<T>(round, m.current) = v;
    meet(op, line);
    return value_of<T>(round, base + from);
}
template <class T> INLINE T prefix(u32 line, T v) {
    Machine& m = machine();
    const u32 round = m.here().round, base = m.group * 32, me = m.current;
    value_of<T>(round, me) = v;
    meet(PREFIX_SUM, line);
    T sum = T(0);
    for (u32 i = base; i < me; i++) sum = T(sum + value_of<T>(round, i));
    return sum;
}
INLINE u32 lane() { return machine().current % 32; }

__attribute__((noinline)) static void group_barrier(mem_flags flags, u32 line) {
    Machine& m = machine();
    if (meet(BARRIER + 16 * u32(flags), line)) {
        Group& g = m.here();
        if (u32(flags) & 1) g.device_part++;
        if (u32(flags) & 2) g.shared_part++;
        if (g.device_part > LAST_PART || g.shared_part > LAST_PART)
            SIM_FAIL(line, "too many simdgroup barriers without a threadgroup_barrier");
    }
    stamp(m);
}

__attribute__((noinline)) static void barrier(mem_flags flags, u32 line) {
    Machine& m = machine();
    Group& g = m.here();
    if (!m.barrier_threads) {
        m.barrier_line = line;
        m.barrier_flags = u32(flags);
    } else if (m.barrier_line != line || m.barrier_flags != u32(flags)) {
        SIM_FAIL(line, "threadgroup_barrier was not reached by all threads: some wait at the one in line %u", m.barrier_line);
    }
    if (++m.barrier_threads < m.threads) {
        g.at_barrier |= 1u << m.position;
        g.runnable &= ~(1u << m.position);
        park();
        return;
    }
    m.barrier_threads = 0;
    m.epoch++;
    if (u32(flags) & 1) m.device_epoch = m.epoch;
    if (u32(flags) & 2) m.shared_epoch = m.epoch;
    for (u32 i = 0; i < m.groups; i++) {
        Group& s = m.group_of[i];
        s.at_barrier = 0;
        s.runnable = ~0u;
        if (u32(flags) & 1) s.device_part = 0;
        if (u32(flags) & 2) s.shared_part = 0;
    }
    m.ready = m.groups == 32 ? ~0u : (1u << m.groups) - 1;
    stamp(m);
}

} // namespace sim

#define HERE sim::u32 line = __builtin_LINE()
INLINE void threadgroup_barrier(mem_flags flags, HERE) { sim::barrier(flags, line); }
INLINE void simdgroup_barrier(mem_flags flags, HERE) { sim::group_barrier(flags, line); }

__attribute__((noinline)) static void grid_dependency_wait() {
    sim::Machine& m = sim::machine();
    if (m.has_waited[m.current]) return;
    m.has_waited[m.current] = 1;
    if (++m.waited < m.threads) return;
    for (sim::u32 i = 0; i < m.launch->operand_count; i++) {
        sim::Operand& o = m.launch->operands[i];
        o.plain = o.access == sim::READ && o.complete && !o.shared;
    }
}

// Values in checked memory are loaded first.
#define REDUCTION(name, op, expression)                                                      \
    template <class T> INLINE T name(T v, HERE) {                                            \
        return sim::reduce(sim::op, line, v, [](T a, T b) { return T(expression); });        \
    }                                                                                        \
    template <class P> INLINE typename P::Value name(sim::Element<P> e, HERE) { return name(e.at.load(), line); }
REDUCTION(simd_sum, SUM, a + b)
REDUCTION(simd_max, MAX, max(a, b))
REDUCTION(simd_min, MIN, min(a, b))
#undef REDUCTION

#define EXCHANGE(name, body)                                                                 \
    template <class T> INLINE T name(T v, uint n, HERE) body                                 \
    template <class P> INLINE typename P::Value name(sim::Element<P> e, uint n, HERE) { return name(e.at.load(), n, line); }
EXCHANGE(simd_shuffle, { return sim::exchange(sim::SHUFFLE, line, v, n); })
EXCHANGE(simd_shuffle_xor, { return sim::exchange(sim::SHUFFLE_XOR, line, v, sim::lane() ^ n); })
EXCHANGE(simd_shuffle_down, { const uint l = sim::lane(); return sim::exchange(sim::SHUFFLE_DOWN, line, v, n < 32 - l ? l + n : l); })
EXCHANGE(simd_broadcast, {
    // the lane has to be the same for all: compare it with everybody's
    const uint least = sim::reduce(sim::BROADCAST, line, n, [](uint a, uint b) { return min(a, b); });
    if (least != n) { using namespace sim; SIM_FAIL(line, "simd_broadcast from lane %u, and from lane %u elsewhere", n, least); }
    return sim::exchange(sim::BROADCAST, line, v, n);
})
#undef EXCHANGE
template <class T> INLINE T simd_prefix_exclusive_sum(T v, HERE) { return sim::prefix(line, v); }
#undef HERE

// Halves in checked memory take part in arithmetic as halves do.
#define HALF_ELEMENT(op)                                                                                          \
    template <class P, typename sim::If<sim::Same<typename P::Value, half>::value>::type = 0>                     \
    INLINE half operator op(const sim::Element<P>& a, half b) { return a.at.load() op b; }                        \
    template <class P, typename sim::If<sim::Same<typename P::Value, half>::value>::type = 0>                     \
    INLINE float operator op(const sim::Element<P>& a, float b) { return a.at.load() op b; }                      \
    template <class P, typename sim::If<sim::Same<typename P::Value, half>::value>::type = 0>                     \
    INLINE half operator op(half a, const sim::Element<P>& b) { return a op b.at.load(); }                        \
    template <class P, typename sim::If<sim::Same<typename P::Value, half>::value>::type = 0>                     \
    INLINE float operator op(float a, const sim::Element<P>& b) { return a op b.at.load(); }                      \
    template <class P, class Q, typename sim::If<sim::Same<typename P::Value, half>::value &&                     \
        sim::Same<typename Q::Value, half>::value>::type = 0>                                                     \
    INLINE half operator op(const sim::Element<P>& a, const sim::Element<Q>& b) { return a.at.load() op b.at.load(); }
HALF_ELEMENT(+) HALF_ELEMENT(-) HALF_ELEMENT(*) HALF_ELEMENT(/)
#undef HALF_ELEMENT

} // namespace msl
