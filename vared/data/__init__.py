"""Data sets: video decoding, clip sampling, augmentation, and one loader per data set."""
