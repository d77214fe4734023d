// Checked pointers, and the shadow that finds races.
//
// A stamp says when a byte was touched and by whom, newest largest:
//
//   epoch (35 bits)   counts threadgroups and their barriers, over all launches
//   part (16 bits)    counts the simdgroup's barriers within the epoch
//   flags (3 bits)    of reads: by more than the named thread, see below
//   thread (10 bits)
//
// A cell holds the last write and a summary of the reads since. That is enough to decide
// exactly whether a new access is unordered with an earlier one: a barrier of the
// threadgroup begins an epoch, one of the simdgroup a part, and accesses that are not told
// apart by these need the same thread.
namespace msl {
namespace sim {

constexpr u64 THREAD = 1023, LANES = u64(1) << 10, GROUPS = u64(1) << 11, ELSEWHERE = u64(1) << 12;
constexpr u64 SPLIT = ~u64(0); // in `write` of a word: its bytes have cells of their own
constexpr u64 LAST_PART = 65535;

struct Now { u64 stamp, group_begin, launch_begin; };

INLINE bool same_group(u64 a, u64 b) { return ((a ^ b) & 0x3e0) == 0; }
INLINE u64 part(u64 a) { return a >> PART_SHIFT & LAST_PART; }

// Is this access, by another thread perhaps, neither ordered before now nor ours?
INLINE bool unordered(u64 before, const Now& now) {
    if (before < now.launch_begin) return false;
    if (before & ELSEWHERE || before < now.group_begin) return true;
    if (before >> EPOCH_SHIFT != now.stamp >> EPOCH_SHIFT) return false;
    if (before & GROUPS) return true;
    if (same_group(before, now.stamp) && part(before) < part(now.stamp)) return false;
    return before & LANES || (before & THREAD) != (now.stamp & THREAD);
}
// The summary of reads, with one more.
INLINE u64 with_read(u64 before, const Now& now) {
    if (before < now.launch_begin) return now.stamp;
    if (before < now.group_begin) return now.stamp | ELSEWHERE;
    const u64 elsewhere = before & ELSEWHERE;
    if (before >> EPOCH_SHIFT != now.stamp >> EPOCH_SHIFT) return now.stamp | elsewhere;
    if (before & GROUPS || !same_group(before, now.stamp)) return now.stamp | elsewhere | GROUPS;
    if (part(before) != part(now.stamp)) return now.stamp | elsewhere;
    if ((before & THREAD) == (now.stamp & THREAD)) return before;
    return now.stamp | elsewhere | LANES;
}

// What is wrong with an access: nothing, or the earlier access it conflicts with, or that
// there was no write.
struct Finding { u64 with; u32 what; };
enum : u32 { FINE, AFTER_WRITE, AFTER_READ, UNWRITTEN };

INLINE Finding read_cell(Cell& c, const Now& now, bool needs_write, u64 since) {
    if (needs_write && c.write < since) return {0, UNWRITTEN};
    if (unordered(c.write, now)) return {c.write, AFTER_WRITE};
    if (c.read != now.stamp) c.read = with_read(c.read, now);
    return {0, FINE};
}
INLINE Finding write_cell(Cell& c, const Now& now) {
    if (unordered(c.write, now)) return {c.write, AFTER_WRITE};
    if (unordered(c.read, now)) return {c.read, AFTER_READ};
    c.write = now.stamp;
    c.read = 0;
    return {0, FINE};
}
INLINE void split(Cell& word, Cell* each) {
    for (u32 i = 0; i < 4; i++) each[i] = word;
    word.write = SPLIT;
}

// Notes an access of `size` bytes at `at` in the shadow; size is a power of two and divides at.
INLINE Finding note_read(Cell* words, Cell* each, u64 at, u32 size, const Now& now, bool needs_write, u64 since) {
    for (u64 i = at & ~u64(3); i < at + size; i += 4) {
        Cell& word = words[i / 4];
        if (size >= 4 && word.write != SPLIT) {
            const Finding f = read_cell(word, now, needs_write, since);
            if (f.what) return f;
            continue;
        }
        if (word.write != SPLIT) split(word, each + i);
        const u64 first = size < 4 ? at : i, last = size < 4 ? at + size : i + 4;
        for (u64 k = first; k < last; k++) {
            const Finding f = read_cell(each[k], now, needs_write, since);
            if (f.what) return f;
        }
    }
    return {0, FINE};
}
INLINE Finding note_write(Cell* words, Cell* each, u64 at, u32 size, const Now& now) {
    for (u64 i = at & ~u64(3); i < at + size; i += 4) {
        Cell& word = words[i / 4];
        if (size >= 4 && word.write != SPLIT) {
            const Finding f = write_cell(word, now);
            if (f.what) return f;
            continue;
        }
        if (word.write != SPLIT) split(word, each + i);
        const u64 first = size < 4 ? at : i, last = size < 4 ? at + size : i + 4;
        for (u64 k = first; k < last; k++) {
            const Finding f = write_cell(each[k], now);
            if (f.what) return f;
        }
        if (size >= 4) word = {now.stamp, 0};
    }
    return {0, FINE};
}

// "written by thread 5" or the like, for messages.
struct Who { char text[64]; };
COLD static Who who(const Finding& f, const Now& now) {
    Who w;
    const char* verb = f.what == AFTER_READ ? "read" : "written";
    if (f.with & ELSEWHERE || f.with < now.group_begin)
        snprintf(w.text, sizeof w.text, "%s by another threadgroup", verb);
    else if (f.with & (GROUPS | LANES))
        snprintf(w.text, sizeof w.text, "%s by thread %u and others", verb, u32(f.with & THREAD));
    else
        snprintf(w.text, sizeof w.text, "%s by thread %u", verb, u32(f.with & THREAD));
    return w;
}

// ---- device memory
// Bits of a byte map for an aligned access of up to 16 bytes, which lie in one word of it.
INLINE u64 bits_of(u64 at, u32 size) { return ((u64(1) << size) - 1) << (at % 64); }

INLINE Now device_now(const Machine& m) { return {m.device_stamp, m.group_begin, m.launch_begin}; }

#define SIM_PLACE(o, offset, size, align, verb)                                                      \
    if ((o).bytes < (size) || (offset) > (o).bytes - (size))                                        \
        SIM_FAIL(0, verb " %u bytes at %lld of '%s', which has %llu", size, (long long)(offset),    \
            (o).name, (o).bytes);                                                                   \
    if (uptr((o).first + (offset)) % (align))                                                       \
        SIM_FAIL(0, verb " '%s' at %lld, which is not aligned to %u bytes", (o).name,               \
            (long long)(offset), align)

__attribute__((noinline)) static void device_read(Operand& o, u64 offset, u32 size, u32 align) {
    SIM_PLACE(o, offset, size, align, "reads");
    Machine& m = machine();
    if (!o.early && !m.has_waited[m.current])
        SIM_FAIL(0, "reads '%s', which an earlier launch writes, before grid_dependency_wait()", o.name);
    const u64 at = u64(o.first + offset - o.base);
    if (o.access != READ || o.shared) {
        const Now now = device_now(m);
        const Finding f = note_read(o.words, o.each, at, size, now, o.access == WRITE, now.launch_begin);
        if (f.what == UNWRITTEN)
            SIM_FAIL(0, "reads '%s' at %llu, which is declared as written, before this launch wrote it", o.name, offset);
        if (f.what) SIM_FAIL(0, "race: reads '%s' at %llu, which was %s", o.name, offset, who(f, now).text);
    }
    if (!o.complete && o.access != WRITE && ~o.written[at / 64] & bits_of(at, size))
        SIM_FAIL(0, "reads memory that nothing wrote: '%s' at %llu", o.name, offset);
}

__attribute__((noinline)) static void device_write(Operand& o, u64 offset, u32 size, u32 align) {
    SIM_PLACE(o, offset, size, align, "writes");
    Machine& m = machine();
    if (o.access == READ) SIM_FAIL(0, "writes '%s' at %llu, which is declared as read", o.name, offset);
    if (!m.has_waited[m.current]) SIM_FAIL(0, "writes '%s' before grid_dependency_wait()", o.name);
    const u64 at = u64(o.first + offset - o.base);
    const Now now = device_now(m);
    const Finding f = note_write(o.words, o.each, at, size, now);
    if (f.what) SIM_FAIL(0, "race: writes '%s' at %llu, which was %s", o.name, offset, who(f, now).text);
    if (!o.complete) o.written[at / 64] |= bits_of(at, size);
}

COLD static void out_of_fuel(const char* name) {
    SIM_FAIL(0, "endless loop: the threadgroup touches '%s' without end", name);
}

static bool complain(Machine& m, const char* text, const char* name, u64 from, u64 to) {
    snprintf(m.launch->message, m.launch->message_bytes, text, name, from, to);
    return false;
}

// At the end of a launch: what was declared has to have happened.
static bool check_results(Machine& m) {
    for (u32 k = 0; k < m.launch->operand_count; k++) {
        const Operand& o = m.launch->operands[k];
        if (!o.bytes) continue;
        if (o.access != WRITE) {
            if (!o.touched)
                return complain(m, o.access == READ ? "'%s' is declared as read, but no thread touched it"
                                                    : "'%s' is declared as updated, but no thread touched it",
                    o.name, 0, 0);
            continue;
        }
        const u64 begin = u64(o.first - o.base);
        u64 from = o.bytes;
        for (u64 i = 0; i < o.bytes; i++) {
            const Cell& word = o.words[(begin + i) / 4];
            const bool done = (word.write == SPLIT ? o.each[begin + i] : word).write >= m.launch_begin;
            if (!done && from == o.bytes) from = i;
            if (done && from != o.bytes)
                return complain(m, "'%s' is declared as written, but bytes %llu..%llu were not", o.name, from, i);
            if (done && word.write != SPLIT && (begin + i) % 4 == 0) i += 3;
        }
        if (from != o.bytes)
            return complain(m, "'%s' is declared as written, but bytes %llu..%llu were not", o.name, from, o.bytes);
    }
    return true;
}

static Operand nowhere = {nullptr, 0, nullptr, nullptr, nullptr, nullptr, 1, "an unset pointer", READ, 1, 0, 1, 1, 0};

// ---- what an element of checked memory looks like: converts to its value, can be assigned
template <class T> struct Plain { typedef T type; static constexpr bool is_const = false; };
template <class T> struct Plain<const T> { typedef T type; static constexpr bool is_const = true; };
template <bool> struct If {};
template <> struct If<true> { typedef int type; };
template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };

template <class P> struct Element {
    typedef typename P::Value V;
    P at;
    INLINE operator V() const { return at.load(); }
    template <class U, typename If<!Same<U, V>::value && !(Same<half, V>::value && Same<U, float>::value)>::type = 0>
    INLINE explicit operator U() const {
        return U(at.load());
    }
    // a half becomes a float without being asked
    template <class U, typename If<Same<half, V>::value && Same<U, float>::value>::type = 0, class = void>
    INLINE operator U() const {
        return at.load();
    }
    INLINE const Element& operator=(V v) const { at.store(v); return *this; }
    INLINE const Element& operator=(const Element& e) const { at.store(e.at.load()); return *this; }
    template <class Q> INLINE const Element& operator=(const Element<Q>& e) const { at.store(V(e.at.load())); return *this; }
    INLINE const Element& operator+=(V v) const { at.store(V(at.load() + v)); return *this; }
    INLINE const Element& operator-=(V v) const { at.store(V(at.load() - v)); return *this; }
    INLINE const Element& operator*=(V v) const { at.store(V(at.load() * v)); return *this; }
    INLINE const Element& operator|=(V v) const { at.store(V(at.load() | v)); return *this; }
    INLINE const Element& operator&=(V v) const { at.store(V(at.load() & v)); return *this; }
    INLINE P operator&() const { return at; }
};

#define SIM_POINTER(NAME, OWNER, NONE)                                                                 \
    typedef typename Plain<T>::type Value;                                                             \
    T* p;                                                                                              \
    OWNER* of;                                                                                         \
    INLINE NAME() : p(nullptr), of(NONE) {}                                                            \
    INLINE NAME(T* p, OWNER* of) : p(p), of(of) {}                                                     \
    /* `T*` to `const T*` */                                                                           \
    template <class U, typename If<Same<const U, T>::value>::type = 0>                                 \
    INLINE NAME(const NAME<U>& o) : p(o.p), of(o.of) {}                                                \
    /* a cast to another type, which must not drop `const` */                                          \
    template <class U, typename If<!Same<const U, T>::value && !Same<U, T>::value>::type = 0>          \
    INLINE explicit NAME(const NAME<U>& o) : p((T*)(void*)o.p), of(o.of) {                             \
        static_assert(!Plain<U>::is_const || Plain<T>::is_const, "a cast drops const");                \
    }                                                                                                  \
    INLINE Element<NAME> operator*() const { return {*this}; }                                         \
    INLINE Element<NAME> operator[](long i) const { return {*this + i}; }                              \
    INLINE NAME operator+(long i) const { return NAME((T*)(uptr(p) + uptr(i) * sizeof(T)), of); }      \
    INLINE NAME operator-(long i) const { return NAME((T*)(uptr(p) - uptr(i) * sizeof(T)), of); }      \
    INLINE long operator-(const NAME& o) const { return long(uptr(p) - uptr(o.p)) / long(sizeof(T)); } \
    INLINE NAME& operator+=(long i) { return *this = *this + i; }                                      \
    INLINE NAME& operator-=(long i) { return *this = *this - i; }                                      \
    INLINE NAME& operator++() { return *this += 1; }                                                   \
    INLINE NAME operator++(int) { const NAME o = *this; *this += 1; return o; }                        \
    INLINE NAME& operator--() { return *this -= 1; }                                                   \
    INLINE bool operator==(const NAME& o) const { return p == o.p; }                                   \
    INLINE bool operator!=(const NAME& o) const { return p != o.p; }                                   \
    INLINE bool operator<(const NAME& o) const { return p < o.p; }

template <class T> struct device_ptr {
    SIM_POINTER(device_ptr, Operand, &nowhere)
    INLINE Value load() const {
        const u64 offset = u64(uptr(p) - uptr(of->first));
        if (__builtin_expect(of->bytes < sizeof(T) || offset > of->bytes - sizeof(T) || uptr(p) % alignof(T) || !of->plain, 0))
            device_read(*of, offset, sizeof(T), alignof(T));
        if (__builtin_expect(--of->fuel == 0, 0)) out_of_fuel(of->name);
        Value v;
        __builtin_memcpy((void*)&v, (const void*)p, sizeof v);
        return v;
    }
    INLINE void store(Value v) const {
        static_assert(!Plain<T>::is_const, "a kernel writes through a pointer to const");
        device_write(*of, u64(uptr(p) - uptr(of->first)), sizeof(T), alignof(T));
        if (__builtin_expect(--of->fuel == 0, 0)) out_of_fuel(of->name);
        __builtin_memcpy((void*)p, (const void*)&v, sizeof v);
    }
};

// ---- threadgroup memory
INLINE Now shared_now(const Machine& m) { return {m.shared_stamp, m.group_begin, m.group_begin}; }

__attribute__((noinline)) static void shared_read(Shared& s, u64 offset, u32 size, u32 align) {
    SIM_PLACE(s, offset, size, align, "reads");
    Machine& m = machine();
    const Now now = shared_now(m);
    const Finding f = note_read(m.shared_words, m.shared_each, u64(s.first + offset - m.shared), size, now, true, m.group_begin);
    if (f.what == UNWRITTEN) SIM_FAIL(0, "reads threadgroup memory that nothing wrote: '%s' at %llu", s.name, offset);
    if (f.what) SIM_FAIL(0, "race: reads '%s' at %llu, which was %s", s.name, offset, who(f, now).text);
    if (--m.shared_fuel == 0) out_of_fuel(s.name);
}
__attribute__((noinline)) static void shared_write(Shared& s, u64 offset, u32 size, u32 align) {
    SIM_PLACE(s, offset, size, align, "writes");
    Machine& m = machine();
    const Now now = shared_now(m);
    const Finding f = note_write(m.shared_words, m.shared_each, u64(s.first + offset - m.shared), size, now);
    if (f.what) SIM_FAIL(0, "race: writes '%s' at %llu, which was %s", s.name, offset, who(f, now).text);
    if (--m.shared_fuel == 0) out_of_fuel(s.name);
}

static Shared no_array = {nullptr, 0, "an unset pointer"};

template <class T> struct threadgroup_ptr {
    SIM_POINTER(threadgroup_ptr, Shared, &no_array)
    INLINE Value load() const {
        shared_read(*of, u64(uptr(p) - uptr(of->first)), sizeof(T), alignof(T));
        Value v;
        __builtin_memcpy((void*)&v, (const void*)p, sizeof v);
        return v;
    }
    INLINE void store(Value v) const {
        static_assert(!Plain<T>::is_const, "a kernel writes through a pointer to const");
        shared_write(*of, u64(uptr(p) - uptr(of->first)), sizeof(T), alignof(T));
        __builtin_memcpy((void*)p, (const void*)&v, sizeof v);
    }
};
#undef SIM_POINTER
template <class T> INLINE device_ptr<T> operator+(long i, device_ptr<T> p) { return p + i; }
template <class T> INLINE threadgroup_ptr<T> operator+(long i, threadgroup_ptr<T> p) { return p + i; }

// The threadgroup's array of this number, for whichever thread comes to its declaration.
__attribute__((noinline)) static Shared* shared_array(u32 number, u64 bytes, const char* name) {
    Machine& m = machine();
    if (number >= MAX_ARRAYS) SIM_FAIL(0, "has more than %u threadgroup arrays", MAX_ARRAYS);
    Shared& s = m.arrays[number];
    if (!s.first) {
        s = {m.shared + m.shared_used, bytes, name};
        m.shared_used += (bytes + 15) / 16 * 16;
        if (m.shared_used > SHARED_BYTES)
            SIM_FAIL(0, "needs %llu bytes of threadgroup memory or more, there are %u", m.shared_used, SHARED_BYTES);
    }
    return &s;
}
template <class T, unsigned long BYTES> INLINE threadgroup_ptr<T> shared(u32 number, const char* name) {
    Shared* s = shared_array(number, BYTES, name);
    return threadgroup_ptr<T>((T*)s->first, s);
}

// ---- what the kernel's entry needs
template <class T> INLINE device_ptr<T> bind(u32 number) {
    Operand& o = machine().launch->operands[number];
    return device_ptr<T>((T*)o.first, &o);
}
template <class T> INLINE T constant_value(u32 number) { return as_type_of<T>(machine().launch->constants[number]); }
template <> INLINE bool constant_value<bool>(u32 number) { return machine().launch->constants[number] != 0; }

} // namespace sim
using sim::device_ptr;
using sim::threadgroup_ptr;

template <class T, class U> INLINE T as_type(U u) { return as_type_of<T>(u); }
template <class T, class P> INLINE T as_type(sim::Element<P> e) { return as_type_of<T>(e.at.load()); }
template <class T> INLINE T load_stream(device_ptr<const T> p) { return *p; }
template <class T> INLINE T load_stream(device_ptr<T> p) { return *p; }
template <class T> INLINE T load_stream_if(bool ok, device_ptr<const T> p) { return ok ? T(*p) : T(0); }
template <class T> INLINE T load_stream_if(bool ok, device_ptr<T> p) { return ok ? T(*p) : T(0); }
template <class T> INLINE void load_stream_into(bool ok, device_ptr<const T> p, T& v) {
    if (ok) v = T(*p);
}
template <class T> INLINE void load_lines_into(bool ok, device_ptr<const T> p, T& v) {
    if (ok) v = T(*p);
}

} // namespace msl
