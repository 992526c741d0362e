"""A model's folder from a stranger: what it brings in code is not run."""

import json
import time

import pytest

pytest.importorskip("transformers")

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.llm_loading import load_language_model

CODE = "from pathlib import Path\nPath({mark!r}).touch()\nclass Model: pass\nclass Config: pass\n"


def test_code_that_comes_with_a_model_is_refused_at_once(tmp_path):
    mark = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "of-its-own", "auto_map": classes}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["code.Model", None]}}))
    (folder / "code.py").write_text(CODE.format(mark=str(mark)))
    start = time.monotonic()
    with pytest.raises(InvalidArgumentError, match="cannot load"):
        load_language_model(str(folder))
    assert time.monotonic() - start < 10, "it must not wait for an answer on the terminal"
    assert not mark.exists()
