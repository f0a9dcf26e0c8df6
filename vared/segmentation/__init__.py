"""Semantic segmentation with the same conversion, gates and recipe (thesis section 4.3): PSPNet, static and dynamic."""
