"""Robust reinforcement learning on Ray: RLlib's algorithms, Tune's sweeps, and value iteration across processes.

Nothing outside this package imports ray. Names are looked up when first used.
"""
