from importlib.util import find_spec

collect_ignore_glob = ["*.py"] if find_spec("torch") is None else []
