// Matrix products of a warpgroup (wgmma).
#pragma once

#include "state.hpp"

namespace simt {

// A warp has returned: its products must have been waited for.
void finish_products(Warp& warp);

}  // namespace simt
