"""What drives a suite: the loop over its nodes, its plan, executors, monitor and journal."""
