"""``robust-rl``: each command is a few lines around one public function."""

from robust_rl.cli.main import app, main

__all__ = ["app", "main"]
