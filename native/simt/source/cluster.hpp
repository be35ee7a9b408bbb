// Clusters of blocks.
#pragma once

namespace simt {

// A thread has returned: the cluster's barrier does not wait for it.
void cluster_thread_finished();

}  // namespace simt
