"""The thesis-scale profile tried on a small machine: paths with tiny official files, networks for one step."""
