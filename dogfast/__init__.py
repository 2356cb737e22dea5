"""dogfast: diffusion-painted outliers at high throughput, and classifiers that learn from them to refuse the unknown.

The verbs of the command line as functions: each takes a `RunConfig`, the run's folder (`build_engines` has none), and
optional event sinks. `Detector` loads what they made, to be used.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("dogfast")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "0"

_VERBS = ("build_engines", "anchors", "generate", "train", "evaluate", "compare", "export", "report", "demo")
__all__ = ["Detector", "RunConfig", *_VERBS]


def __getattr__(name: str) -> Any:
    """Load what is asked for only then, so that `import dogfast` imports no torch."""
    if name == "RunConfig":
        from dogfast.config import RunConfig

        return RunConfig
    if name == "Detector":
        from dogfast.detection.detector import Detector

        return Detector
    if name in _VERBS:
        from dogfast.workflows import api

        return getattr(api, name)
    raise AttributeError(f"module 'dogfast' has no attribute {name!r}")
