import os
from pathlib import Path

from tests.site import sitecustomize  # noqa: F401  for this process

# and for those that tests start
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent / "site"), os.environ.get("PYTHONPATH")]))
