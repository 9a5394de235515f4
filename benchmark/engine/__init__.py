"""What drives a suite: the run, its plan, executors, monitor and trials."""
