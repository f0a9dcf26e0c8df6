"""What networks and policies do with clips: redundancy of feature maps, adaptivity, generated maps (appendix B)."""
