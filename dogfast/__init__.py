"""dogfast: diffusion-painted outliers at high throughput, and classifiers that learn from them to refuse the unknown.

The verbs of the command line that make something, as functions: each takes a `RunConfig` (`dogfast.config.presets.preset` gives what the
command line starts a new run from), the run's folder (`build_engines` has none), and optional sinks, functions that are
called with each event's name and fields. `Detector` loads what they made, to be used.
"""

from __future__ import annotations

from typing import Any

_VERBS = ("build_engines", "anchors", "generate", "train", "evaluate", "refine", "compare", "export", "report", "demo")
__all__ = ["Detector", "RunConfig", *_VERBS]


def __getattr__(name: str) -> Any:
    """Load what is asked for only then, so that `import dogfast` imports no torch and `--help` answers at once."""
    if name == "__version__":
        return _version()
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


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dogfast")
    except PackageNotFoundError:  # imported from a source tree that is not installed
        return "0"
