"""A language model's cache of 8 tokens with a state of 2 tokens' size, against a cache of 10: LESS in half a minute.

    python examples/what_a_small_cache_remembers.py [runs/less]

A Llama of two layers with random weights attends to all of its past. H2O keeps 8 tokens of it, the newest and the most attended;
LESS folds the others into a state, by kernels fitted to each layer's attention. On sequences that no kernel has seen, the
attention output comes nearer to that of the full cache than with 2 more tokens, and so do the next-token distributions.

With a folder of a real model: robust-rl less fit --model FOLDER --text corpus.txt, then robust-rl less evaluate.
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from robust_rl.extras.less import H2O, LessKernels, attention_errors, evaluate_less, fit_less
from robust_rl.extras.less.report import write_evaluation_report
from robust_rl.training import RunDirectory


def main() -> None:
    """Fit, measure, and write the report."""
    run = RunDirectory(sys.argv[1]) if len(sys.argv) > 1 else RunDirectory.create("runs", "less")
    torch.manual_seed(0)
    model, policy = random_llama(), H2O(heavy=4, recent=4)
    tokens = torch.randint(2, 61, (44, 64), generator=torch.Generator().manual_seed(1))
    train, held_out = tokens[:36], tokens[36:]

    kernels = LessKernels.from_config(model.config, rank=4, hidden=16)
    run.start({"policy": policy, "rank": 4}, seed=0, command="what_a_small_cache_remembers")
    fit_less(kernels, model, train, policy, run=run, epochs=16, halve_every=5, dropout=0.0, learning_rate=3e-3)
    kernels.save(run.result / "kernels.safetensors")

    errors = attention_errors(model, kernels, policy, held_out)
    print("relative squared error of the attention output on sequences held out")
    for layer, found in errors.items():
        print(f"  layer {layer}: " + ", ".join(f"{name} {error:.3f}" for name, error in found.items()))
    figures = evaluate_less(model, kernels, policy, held_out, prompt=32)
    print("KL from the full model's next-token distributions, and bytes of the cache")
    for name, found in figures.items():
        print(f"  {name:8}{found['kl']:8.4f}{found['cache_bytes']:8d}")
    better = (
        all(found["LESS"] < found["policy+"] for found in errors.values()) and figures["LESS"]["kl"] < figures["policy+"]["kl"]
    )
    print(f"nearer to the full cache than with 2 more tokens: {'yes' if better else 'NO'}")
    print(f"report: {write_evaluation_report(run, f'LESS on a random Llama, {policy}', figures, errors)}")


def random_llama() -> LlamaForCausalLM:
    """Return a model whose attention differs from token to token."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=61, num_hidden_layers=2, max_position_embeddings=128, **sizes)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.15 if "q_proj" in name else 0.3)
    return model


if __name__ == "__main__":
    main()
