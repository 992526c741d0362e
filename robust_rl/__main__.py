"""``python -m robust_rl``: the command line."""

from robust_rl.cli import main

if __name__ == "__main__":
    main()
