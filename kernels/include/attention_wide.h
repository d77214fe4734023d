// Products of tiled attention by four simdgroups together, which is how NVIDIA's Hopper
// multiplies fastest (wgmma): each has 16 rows of A and C in its registers, as tile.h has them; all
// take the same B from a block in threadgroup memory. Only NVIDIA's compiler for that architecture
// sees this.
#pragma once

/// Eight rows of 64 values, which begin at a multiple of 1024.
struct alignas(1024) WideRows {
    uint4 v[64];
};

#define WIDE_8(d, i)                                                                                           \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])

/// Begins c[16][64] += a[16][16] b[16][64] of each simdgroup. The columns of b are rows of a block
/// (keys), or with TURNED its rows are (values).
template <uint TURNED> inline void wide_multiply(thread float* c, thread const TileA& a, ulong b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"
                 : WIDE_8(c, 0), WIDE_8(c, 8), WIDE_8(c, 16), WIDE_8(c, 24)
                 : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "l"(b), "n"(TURNED)
                 : "memory");
}
/// How the units find rows of 64 values at an address: in groups of eight, which begin at
/// multiples of 1024, and whose vectors change places as block_place() says.
inline ulong wide_rows(uint address) { return (1ul << 62) | (64ul << 32) | (1ul << 16) | ulong(address >> 4); }

/// Products begin; what was written to their registers before is seen.
inline void wide_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Products are done.
inline void wide_end() {
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/// The units see what this thread stored in threadgroup memory, after the next barrier.
inline void wide_stored() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
