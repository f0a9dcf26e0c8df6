"""The drawn figures of the thesis, from the tensors of trained networks."""
