"""Methods that the thesis compares with. One file a method."""
