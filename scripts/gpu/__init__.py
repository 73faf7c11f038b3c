"""The parts of `scripts/check_gpu.py`. They use src/ of this tree as it is, installed or not."""

import os
import sys
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[2] / "src")
sys.path.insert(0, _SOURCE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SOURCE, os.environ.get("PYTHONPATH")]))
