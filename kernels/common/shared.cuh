// The dynamic shared memory of a block: all the shared memory that a kernel uses. SKYLIGHT_SHARED(name) declares it as
// bytes.
#pragma once

#include "common/types.cuh"

#ifdef SKYLIGHT_SIMT
#define SKYLIGHT_SHARED(name) unsigned char* const name = ::simt::shared_memory()
#else
#define SKYLIGHT_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#endif
