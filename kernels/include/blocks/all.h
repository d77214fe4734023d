// Every type of block.
#pragma once
#include "blocks/codebook.h"
#include "blocks/float.h"
#include "blocks/k_affine.h"
#include "blocks/k_symmetric.h"
#include "blocks/legacy.h"
#include "blocks/eights.h"
