// The options of each part of a linear launch: its type and the alignment of its
// rows (blocks/block.h), its activation (linear.h), whether it has a bias.
#pragma once
#include "blocks/block.h"

#ifndef GLU
#define GLU 0
#endif

#ifndef P0_BLOCK
#define P0_BLOCK BLOCK_F32
#endif
#ifndef P0_ALIGN
#define P0_ALIGN 4
#endif
#ifndef P0_ACT
#define P0_ACT 0
#endif
#ifndef P0_BIAS
#define P0_BIAS 0
#endif
#ifndef P1_BLOCK
#define P1_BLOCK BLOCK_F32
#endif
#ifndef P1_ALIGN
#define P1_ALIGN 4
#endif
#ifndef P1_ACT
#define P1_ACT 0
#endif
#ifndef P1_BIAS
#define P1_BIAS 0
#endif
#ifndef P2_BLOCK
#define P2_BLOCK BLOCK_F32
#endif
#ifndef P2_ALIGN
#define P2_ALIGN 4
#endif
#ifndef P2_ACT
#define P2_ACT 0
#endif
#ifndef P2_BIAS
#define P2_BIAS 0
#endif
#ifndef P3_BLOCK
#define P3_BLOCK BLOCK_F32
#endif
#ifndef P3_ALIGN
#define P3_ALIGN 4
#endif
#ifndef P3_ACT
#define P3_ACT 0
#endif
#ifndef P3_BIAS
#define P3_BIAS 0
#endif
#ifndef P4_BLOCK
#define P4_BLOCK BLOCK_F32
#endif
#ifndef P4_ALIGN
#define P4_ALIGN 4
#endif
#ifndef P4_ACT
#define P4_ACT 0
#endif
#ifndef P4_BIAS
#define P4_BIAS 0
#endif
#ifndef P5_BLOCK
#define P5_BLOCK BLOCK_F32
#endif
#ifndef P5_ALIGN
#define P5_ALIGN 4
#endif
#ifndef P5_ACT
#define P5_ACT 0
#endif
#ifndef P5_BIAS
#define P5_BIAS 0
#endif
#ifndef P6_BLOCK
#define P6_BLOCK BLOCK_F32
#endif
#ifndef P6_ALIGN
#define P6_ALIGN 4
#endif
#ifndef P6_ACT
#define P6_ACT 0
#endif
#ifndef P6_BIAS
#define P6_BIAS 0
#endif
#ifndef P7_BLOCK
#define P7_BLOCK BLOCK_F32
#endif
#ifndef P7_ALIGN
#define P7_ALIGN 4
#endif
#ifndef P7_ACT
#define P7_ACT 0
#endif
#ifndef P7_BIAS
#define P7_BIAS 0
#endif

// Two matrices with one rounded input must find it in the same layout: of unlike
// types, Q8_0 does without its own.
#if GLU && P0_BLOCK != P1_BLOCK
#define ALIGN_OF(BLOCK, ALIGN) (BLOCK == BLOCK_Q8_0 ? 2 : ALIGN)
#else
#define ALIGN_OF(BLOCK, ALIGN) ALIGN
#endif
