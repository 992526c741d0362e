"""A language model and its tokenizer by name, for command lines."""

from __future__ import annotations

from typing import Any

from robust_rl.errors import loadable
from robust_rl.training.optional import require


def load_language_model(name: str) -> tuple[Any, Any]:
    """Return a model in evaluation mode, on the GPU if there is one, and its tokenizer.

    Parameters
    ----------
    name
        A folder, or a name on the Hugging Face hub. Code that comes with a model is not run, and its weights are read from
        safetensors alone.

    Raises
    ------
    InvalidArgumentError
        There is no such model.
    MissingDependencyError
        torch or transformers is not installed.
    """
    torch, transformers = require("torch", "robust-rl[llm]"), require("transformers", "robust-rl[llm]")
    with loadable(name, "a language model"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype="auto", trust_remote_code=False, use_safetensors=True
        )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
