"""Table 4.9: localisation heads on the backbones of recognition runs, trained, evaluated and gathered."""
