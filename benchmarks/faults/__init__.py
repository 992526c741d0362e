"""Jobs, faults and the page of ``benchmarks/faults.py``."""
