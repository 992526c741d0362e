import json

import pytest

pytest.importorskip("datasets")

from robust_rl.alignment import data
from robust_rl.errors import FileFormatError, InvalidArgumentError

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}
TALK = {name: [{"role": "user", "content": text}] for name, text in GOOD.items()}


def written(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "chosen": "a"}, r"row 3 has no 'rejected'; its columns are prompt, chosen"),
        ({"prompt": "p", "chosen": "a", "rejectd": "b"}, "did you mean rejectd"),
        (GOOD | {"chosen": " "}, "row 3 has an empty 'chosen'"),
        (GOOD | {"prompt": ""}, "row 3 has an empty 'prompt'"),
        (GOOD | {"chosen": None}, "row 3, 'chosen' is None"),
        (GOOD | {"chosen": 7}, "row 3, 'chosen' is 7"),
        (GOOD | {"chosen": []}, r"row 3, 'chosen' is \[\]"),
        (GOOD | {"chosen": TALK["chosen"]}, "row 3 mixes text and messages: chosen messages, rejected text"),
        (TALK | {"chosen": [{"role": "user"}]}, "no message with a role and content"),
        (TALK | {"chosen": [{"role": "user", "content": ""}]}, "no message with a role and content"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_bad_row_is_named(row, message, kind, tmp_path):
    path = tmp_path / f"pairs.{kind}"
    rows = [TALK, TALK, row] if isinstance(row.get("rejected"), list) else [GOOD, GOOD, row]
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        if "no 'rejected'" in message or "did you mean" in message or not same_types(rows):
            pytest.skip("a parquet column is of one type, and is there for all rows")
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(str(path))
    else:
        written(path, rows)
    with pytest.raises(InvalidArgumentError, match=message):
        data.load_local(str(path))


def same_types(rows):
    kinds = [[json.dumps(sorted(row["chosen"][0])) if isinstance(row["chosen"], list) and row["chosen"] else type(row["chosen"])]
             for row in rows]  # fmt: skip
    return all(kind == kinds[0] for kind in kinds) or rows[-1]["chosen"] is None


def test_files_that_are_none_are_named_with_their_line(tmp_path):
    with pytest.raises(FileFormatError, match="line 2"):
        data.load_local(written(tmp_path / "a.jsonl", [GOOD, "{broken\n"]))
    with pytest.raises(FileFormatError, match="line 1: expected a JSON object, not list"):
        data.load_local(written(tmp_path / "b.jsonl", ["[1]\n"]))
    with pytest.raises(FileFormatError, match="no such file"):
        data.load_local(str(tmp_path / "missing.jsonl"))
    with pytest.raises(InvalidArgumentError, match="has no rows"):
        data.load_local(written(tmp_path / "empty.jsonl", []))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(FileFormatError, match=r"c\.parquet"):
        data.load_local(str(tmp_path / "c.parquet"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileFormatError, match="name them by split"):
        data.load_local(str(tmp_path / "folder"))


def test_a_folder_holds_a_file_for_each_split(tmp_path):
    written(tmp_path / "train.jsonl", [GOOD, GOOD, "\n"])
    written(tmp_path / "test.jsonl", [TALK | {"extra": 1}])
    splits = data.load_local(str(tmp_path))
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "test": 1}
    assert data.is_local(str(tmp_path))
    assert not data.is_local("owner/dataset")


def test_columns_of_a_dataset_from_elsewhere(tmp_path):
    splits = data.load_local(written(tmp_path / "a.jsonl", [GOOD]))
    with pytest.raises(InvalidArgumentError, match="owner/d has no column 'calibration'"):
        data.check_columns(splits["train"], ["chosen", "calibration"], "owner/d")


def test_prompts_that_are_no_prefix_are_counted():
    """A tokenizer that merges the prompt's last letter with the response's first."""
    from types import SimpleNamespace

    class Merging:
        def __call__(self, text):
            return {"input_ids": list(text.replace("py", "Y"))}

    row = {
        "prompt": "ap",
        "chosen": "yes",
        "rejected": "no",
        "prompt_ids": ["a"],
        "chosen_ids": ["Y"],
        "rejected_ids": ["p", "n"],
    }
    whole = row | {"prompt": "as", "prompt_ids": ["a", "s"]}
    from datasets import Dataset

    trainer = SimpleNamespace(
        train_dataset=Dataset.from_list([row, whole, whole]), args=SimpleNamespace(max_length=None), processing_class=Merging()
    )
    counts = data.figures(trainer, None)
    assert counts == {"rows": 3, "dropped": 0, "truncated": 0, "identical": 0, "prompt_changed": 1}
    assert "1 of 3 rows whose prompt is no prefix" in data.explain(counts)[0]
