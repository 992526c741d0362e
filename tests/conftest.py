import sys
import warnings

import pytest


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Call the command line in this process, which starts once for all tests: (exit code, stdout, stderr)."""
    from robust_rl.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets its own

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["robust-rl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call
