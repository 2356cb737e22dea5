"""The hub: offline, gated, gone, moved on, with a cache that cannot be written. Told before any work, with what to do."""

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from dogfast.cli.main import main
from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines.cache import CACHE_VARIABLE
from dogfast.errors import EnvironmentFault, RunMismatch
from dogfast.events import Events
from dogfast.run import launch
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
NAME = "owner/name"
ANSWER = httpx2.Response(401, request=httpx2.Request("GET", "https://huggingface.co/owner/name"))

ERRORS = {
    "gated": (
        lambda: GatedRepoError("401 Client Error.\n\nCannot access gated repo", response=ANSWER),
        ["https://huggingface.co/owner/name", "hf auth login", "$HF_TOKEN"],
    ),
    "gone": (lambda: RepositoryNotFoundError("404 Client Error.", response=ANSWER), ["404", "--model PATH"]),
    "broken": (lambda: HfHubHTTPError("503 Service Unavailable", response=ANSWER), ["503", "--model PATH"]),
    "offline": (lambda: LocalEntryNotFoundError("no connection"), ["no connection", "go online", "--model PATH"]),
    "cut off": (lambda: httpx2.ReadTimeout("the read timed out"), ["the read timed out", "go online"]),
    "read-only": (lambda: PermissionError(13, "Permission denied", "/cache/x"), ["/cache/x", "$HF_HOME"]),
    "read-only disk": (lambda: OSError(30, "Read-only file system", "/cache/x"), ["/cache/x", "$HF_HOME"]),
    "full": (lambda: OSError(28, "No space left on device", "/cache/x"), ["No space left", "$HF_HOME"]),
}


def failing(monkeypatch, kind):
    def download(*given, **named):
        raise ERRORS[kind][0]()

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


@pytest.mark.parametrize("kind", ERRORS)
def test_what_the_hub_refuses_is_told_with_what_to_do(monkeypatch, kind):
    failing(monkeypatch, kind)
    with pytest.raises(EnvironmentFault) as refusal:
        _ = Pipeline(ModelConfig(model=NAME), NAME).revision
    message = str(refusal.value)
    assert f"--model {NAME}" in message and all(part in message for part in ERRORS[kind][1]), message
    assert "\n" not in message and refusal.value.exit_code == 3


def test_a_reason_that_a_library_wrapped_is_found():
    def load(*given, **named):
        try:
            raise ERRORS["gated"][0]()
        except OSError as error:
            raise OSError("You are trying to access a gated repo.\nMake sure to have access") from error

    with pytest.raises(EnvironmentFault, match="hf auth login"):
        Pipeline(ModelConfig(model=NAME), NAME)._load(load, "unet")


@pytest.mark.parametrize("kind", ["gated", "read-only"])
def test_the_command_ends_before_any_work_and_leaves_nothing(tmp_path, monkeypatch, capsys, kind):
    """By the pipeline's first question; the libraries are not even asked for weights."""
    failing(monkeypatch, kind)
    typed = ["dogfast", "generate", "--classes", "shapes", "--model", NAME, "--output", str(tmp_path / "run")]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with patch.object(sys, "argv", typed), pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 3 and told.count("error: ") == 1 and "Traceback" not in told, told
    assert not list(tmp_path.iterdir())


def test_a_cache_below_a_file_is_told_with_the_variable(tmp_path, monkeypatch):
    """The hub's own code meets the file system; what it asks the network for is answered."""
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    facts = ("etag", "c" * 40, 3, None, None)
    monkeypatch.setattr("huggingface_hub.file_download._get_metadata_or_catch_error", lambda **named: ("https://x", *facts))
    with pytest.raises(EnvironmentFault, match=r"file/hub.*\$HF_HOME"):
        _ = Pipeline(ModelConfig(model=NAME), NAME).revision


def test_a_missing_home_is_told_with_the_variable(monkeypatch):
    from dogfast.engines.cache import default_folder

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", CACHE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(EnvironmentFault, match=r"\$XDG_CACHE_HOME"):
        default_folder()


# --- a model that moved on --------------------------------------------------------------------------------------
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose `main` is ``hub.head``; a named revision is itself."""
    hub = SimpleNamespace(head=OLD)

    def download(place, name, subfolder, revision, local_files_only):
        return os.fspath(tmp_path / "snapshots" / {"main": hub.head}.get(revision, revision) / (subfolder or "") / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(fakes.FakePipeline, "__init__", ask)
    return hub


def ask(self, config, model):
    self.name = self.place = model
    self.revision = Pipeline(config, NAME).revision


def paint(root, **model):
    config = fakes.config().with_values({"model": model}, "test")
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


def test_a_model_that_moved_on_is_refused_and_its_former_commit_goes_on(tmp_path, hub):
    paint(tmp_path / "run")
    kept = fakes.tars(tmp_path / "run" / "outliers" / "dog")
    hub.head = NEW
    with pytest.raises(RunMismatch, match=f"model_revision: was '{OLD}', now '{NEW}'") as refusal:
        paint(tmp_path / "run")
    assert refusal.value.exit_code == 6 and fakes.tars(tmp_path / "run" / "outliers" / "dog") == kept
    assert paint(tmp_path / "run", revision=OLD)["resumed_shards"] == 3
    with pytest.raises(RunMismatch):
        paint(tmp_path / "run", revision=NEW)
