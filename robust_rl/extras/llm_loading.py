"""A language model and its tokenizer by name, for command lines."""

from __future__ import annotations

from typing import Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.training.optional import require


def load_language_model(name: str) -> tuple[Any, Any]:
    """Return a model in evaluation mode, on the GPU if there is one, and its tokenizer.

    Parameters
    ----------
    name
        A folder, or a name on the Hugging Face hub. Code that comes with a model is not run.

    Raises
    ------
    InvalidArgumentError
        There is no such model.
    MissingDependencyError
        torch or transformers is not installed.
    """
    torch, transformers = require("torch", "robust-rl[llm]"), require("transformers", "robust-rl[llm]")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype="auto", trust_remote_code=False)
    except Exception as error:  # the readers of a broken folder fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidArgumentError(f"cannot load {name} as a language model: {reason}") from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
