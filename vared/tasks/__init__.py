"""Loss, correctness and metrics of each task; training and evaluation take one of these modules as `task`."""
