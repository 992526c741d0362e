"""Content told from style without labels, by what style leaves alone: MATTE on vectors, in half a minute.

    python examples/what_style_leaves_alone.py [runs/matte]

Twenty measured values depend on three hidden dimensions of content and two of style, in eight domains; style depends on content
and touches six of the values only. One model knows that style touches little, the other doesn't. The first finds content, and its
style says how the rows would have been: content read from the changed rows is the one they had.
"""

import sys

import torch

from robust_rl.extras.matte import MatteConfig, VectorMatte, block_r2, synthetic_vectors
from robust_rl.training import Figure, RunDirectory, Section, Table

SETTINGS = {
    "c_dim": 3, "s_dim": 2, "enc_hidden": 64, "dec_hidden": 64, "flow_hidden": 32, "beta_c": 1.0, "beta_s": 1.0, "w_mask": 0.0,
    "free_influence": 2.0, "steps": 400, "batch_size": 128, "learning_rate": 4e-3,
}  # fmt: skip


def main() -> None:
    """Fit both models, measure them, and write the report."""
    run = RunDirectory(sys.argv[1]) if len(sys.argv) > 1 else RunDirectory.create("runs", "matte")
    torch.set_num_threads(1)
    data = synthetic_vectors(3000, seed=1)
    models = {
        "MATTE": VectorMatte(MatteConfig(**SETTINGS, w_sparse=0.5, w_partial=0.1)),
        "without sparsity": VectorMatte(MatteConfig(**SETTINGS, w_sparse=0.0, w_partial=0.0)),
    }
    run.start(SETTINGS, seed=1, command="what_style_leaves_alone")
    rows = []
    for name, model in models.items():
        model.fit(data.x, data.domain)
        code = model.encode(data.x, data.domain)
        rows.append([name, block_r2(data.c, code.c), block_r2(data.s, code.s), after_a_change(model, data)])
        found = [f"{number:.2f}" for number in rows[-1][1:]]
        print(f"{name:17} R2 of content {found[0]}, of style {found[1]}, of content after style changed {found[2]}")
    print(f"content is found by what style leaves alone: {'yes' if rows[0][1] > 0.85 and rows[0][1] > rows[1][1] else 'NO'}")
    table = Table(["model", "R2 of content", "R2 of style", "R2 of content after style changed"], rows)
    note = (
        "How much each learned dimension (c0 to c2, s0, s1) moves each of the twenty values. Style moves the last six in truth."
    )
    figures = [Figure(influences(model, data), name) for name, model in models.items()]
    report = run.report(
        "What style leaves alone", [Section("Identification", items=[table]), Section("Influence", note, figures)]
    )
    print(f"report: {report}")
    run.finish()


def after_a_change(model: VectorMatte, data) -> float:
    """Give every row the style noise of rows of the first domain, and read content from the outcome."""
    bright = model.encode(data.x[data.domain == 0], data.domain[data.domain == 0])
    changed = model.counterfactual(data.x, data.domain, to=bright, direction="replace")
    return block_r2(data.c, model.encode(changed, data.domain).c)


def influences(model: VectorMatte, data):
    """Return a picture of the mean influence of each latent dimension on each value."""
    from matplotlib.figure import Figure as Canvas

    code = model.encode(data.x[:500], data.domain[:500])
    z = torch.cat([code.c, code.s], dim=1)
    with torch.no_grad():
        influence = model.network.influence(z, z[:, :0]).mean(1)
    canvas = Canvas(figsize=(6.5, 2.2), layout="constrained")
    axes = canvas.subplots()
    axes.imshow(influence, cmap="Greys", aspect="auto")
    axes.set(yticks=range(5), yticklabels=["c0", "c1", "c2", "s0", "s1"], xlabel="measured value")
    return canvas


if __name__ == "__main__":
    main()
