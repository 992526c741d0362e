"""LESS from its definitions, one token and one head at a time, on lists: shares no code with the library, and keeps no state."""

import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def kept(policy, held, score, pads=frozenset()):
    """Return which of ``held`` (positions, oldest first) stay; padding goes first."""
    kind = type(policy).__name__
    real = [j for j in held if j not in pads]
    budget = {"H2O": lambda: policy.heavy + policy.recent, "StreamingLLM": lambda: policy.first + policy.recent,
              "TOVA": lambda: policy.size, "Window": lambda: policy.recent}[kind]()  # fmt: skip
    if len(real) <= budget:
        return real
    if kind == "Window":
        return real[-budget:]
    if kind == "StreamingLLM":
        return real[: policy.first] + (real[-policy.recent :] if policy.recent else [])
    newest = real[len(real) - policy.recent :] if kind == "H2O" else []
    others = sorted((j for j in real if j not in newest), key=lambda j: (-score[j], j))
    return sorted(others[: budget - len(newest)] + newest)


def run(policy, q, k, v, prompt, phi=None, psi=None, scaling=None, pads=frozenset()):
    """Return outputs (H, S, D) and, per key-value head, the positions held at the end.

    q is (H, S, D), k and v (K, S, D). The first ``prompt`` tokens are attended to in full, then the policy chooses among them;
    each later token attends and then the policy chooses. ``phi(h, q)`` and ``psi(kv, k)`` are vectors; None drops for good.
    """
    H, S, D = q.shape
    K = len(k)
    group = H // K
    scaling = D**-0.5 if scaling is None else scaling
    out = np.zeros((H, S, D))
    held, gone = [[] for _ in range(K)], [[] for _ in range(K)]
    score = [dict.fromkeys(range(S), 0.0) for _ in range(K)]
    for t in range(S):
        if t in pads:
            for c in range(K):
                held[c].append(t)
            continue
        rows = {}
        for c in range(K):
            held[c].append(t)
            for h in range(c * group, (c + 1) * group):
                see = [j for j in held[c] if j not in pads]
                logits = np.array([scaling * q[h, t] @ k[c, j] for j in see])
                rows[h] = dict(zip(see, softmax(logits), strict=True))
                top = max(logits)
                weights = dict(zip(see, np.exp(logits - top), strict=True))
                if phi is not None:
                    weights |= {j: phi(h, q[h, t]) @ psi(c, k[c, j]) * np.exp(-top) for j in gone[c]}
                out[h, t] = sum(w * v[c, j] for j, w in weights.items()) / sum(weights.values())
        for c in range(K):
            heads = range(c * group, (c + 1) * group)
            if type(policy).__name__ == "H2O":
                for h in heads:
                    for j, p in rows[h].items():
                        score[c][j] += p
            if type(policy).__name__ == "TOVA":
                score[c] = {j: np.mean([rows[h].get(j, 0.0) for h in range(H)]) for j in range(S)}
            if t >= prompt - 1:
                stay = kept(policy, held[c], score[c], pads)
                gone[c] += [j for j in held[c] if j not in stay and j not in pads]
                held[c] = stay
    return out, held
