"""Where a round's responses come from.

A generator has one method, ``generate(prompts, seed=..., adapter=...)``. ``adapter`` is the folder of the policy to draw
from, and None the reference, so that a server elsewhere knows which weights are meant; the same call gives the same
responses as far as the server keeps its seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from robust_rl.alignment.sampling import Prompt, prompt_ids, sample_ids
from robust_rl.errors import RobustRLError
from robust_rl.training.optional import require


class Generator(Protocol):
    """Draws responses."""

    def generate(self, prompts: Sequence[Prompt], *, seed: int, adapter: Path | None) -> list[str]:
        """Return one response a prompt, without special tokens."""
        ...


class TransformersGenerator:
    """Draws in this process.

    Parameters
    ----------
    model_for
        ``model_for(adapter)`` is a context within which it yields the model to draw from.
    tokenizer
        Its tokenizer.
    max_new_tokens, temperature
        As for :func:`~robust_rl.alignment.sampling.sample_ids`.
    """

    def __init__(
        self,
        model_for: Callable[[Path | None], AbstractContextManager[Any]],
        tokenizer: Any,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
    ) -> None:
        self.model_for = model_for
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature

    def generate(self, prompts: Sequence[Prompt], *, seed: int, adapter: Path | None) -> list[str]:
        """Return one response a prompt, all in one batch."""
        with self.model_for(adapter) as model:
            drawn = sample_ids(
                model,
                [prompt_ids(self.tokenizer, prompt) for prompt in prompts],
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                max_new_tokens=self.max_new_tokens,
                seed=seed,
                temperature=self.temperature,
            )
        return [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in drawn]


class VLLMGenerator:
    """Draws from a vLLM server, by its OpenAI-compatible interface.

    Start it with the base model, and let it load adapters while it runs::

        VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank 16

    Each round's adapter is loaded from its folder, which the server must see under the same path, and the one before it is
    unloaded.

    Parameters
    ----------
    address
        ``http://host:8000``.
    model
        The name under which the server has the base model: the reference.
    tokenizer
        Turns messages into tokens; prompts are sent as token ids, so that both sides agree on them.
    max_new_tokens, temperature
        As for :class:`TransformersGenerator`.
    timeout
        Seconds to wait for a batch.
    """

    def __init__(
        self,
        address: str,
        model: str,
        tokenizer: Any,
        max_new_tokens: int = 256,
        temperature: float = 1.0,
        timeout: float = 600.0,
    ) -> None:
        self.address = address.rstrip("/")
        self.model = model
        self.tokenizer = tokenizer
        self.settings = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": 1.0, "top_k": -1}
        self.timeout = timeout
        self._loaded: str | None = None

    def generate(self, prompts: Sequence[Prompt], *, seed: int, adapter: Path | None) -> list[str]:
        """Return one response a prompt.

        Raises
        ------
        RobustRLError
            The server cannot be reached, refuses, or answers with another number of responses.
        """
        name = self.model if adapter is None else self._load(adapter)
        ids = [prompt_ids(self.tokenizer, prompt) for prompt in prompts]
        answer = self._post("/v1/completions", {"model": name, "prompt": ids, "seed": seed, "n": 1} | self.settings).json()
        choices = sorted(answer.get("choices", []), key=lambda choice: choice["index"])
        if len(choices) != len(prompts):
            raise RobustRLError(f"{self.address} gave {len(choices)} responses to {len(prompts)} prompts")
        return [choice["text"] for choice in choices]

    def _load(self, adapter: Path) -> str:
        # the parent's name tells rounds apart: <output_dir>/rounds/round_003/policy
        name = f"{adapter.parent.name}-{adapter.name}"
        if name != self._loaded:
            if self._loaded is not None:
                self._post("/v1/unload_lora_adapter", {"lora_name": self._loaded})
            self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(adapter.resolve())})
            self._loaded = name
        return name

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        requests = require("requests", "robust-rl[alignment]")
        try:
            response = requests.post(self.address + path, json=content, timeout=self.timeout)
        except requests.RequestException as error:
            raise RobustRLError(f"no answer from the vLLM server at {self.address}{path}: {error}") from error
        if response.status_code != 200:
            raise RobustRLError(
                f"the vLLM server at {self.address}{path} refused ({response.status_code}): {response.text[:300]}"
            )
        return response
