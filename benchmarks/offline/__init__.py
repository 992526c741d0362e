"""The studies of DROP and DROP-V, one file each; ``benchmarks/offline_studies.py`` runs them."""
