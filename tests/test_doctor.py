"""Findings about a machine: what is broken is called so, and each finding that is not fine says how to mend it."""

import re
import tomllib
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from dogfast import doctor
from dogfast.doctor import FLOORS, findings

ROOT = Path(__file__).parent.parent


@pytest.fixture
def packages(monkeypatch):
    """Pretend versions of packages by name; None is not installed; all others are as they are."""

    def pretend(**versions):
        given, real = {name.replace("_", "-"): version for name, version in versions.items()}, doctor.version

        def version(name):
            if name not in given:
                return real(name)
            if given[name] is None:
                raise PackageNotFoundError(name)
            return given[name]

        monkeypatch.setattr(doctor, "version", version)

    return pretend


def of(name, found):
    return next(finding for finding in found if finding.name == name)


def test_everything_is_looked_at():
    found = findings()
    names = [finding.name for finding in found]
    assert len(set(names)) == len(names)
    assert set(names) >= {
        "python",
        *FLOORS,
        "processor",
        "device",
        "precision",
        "memory",
        "disk",
        "model tiny",
        "onnxruntime",
        "$DOGFAST_DATA",
    }
    for finding in found:
        assert finding.status in ("ok", "warn", "fail") and finding.found
        assert bool(finding.fix) == (finding.status != "ok"), finding
    assert of("model tiny", found).status == "ok" and of("torch", found).status == "ok"


def test_floors_are_those_of_the_package():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    stated = {m[1]: m[2] for line in wanted if (m := re.match(r"([\w-]+)>=([\d.]+)", line))}
    for name, floor in FLOORS.items():
        assert any(re.match(rf"{name}\b", line) for line in wanted)
        assert stated.get(name, "1") == ".".join(map(str, floor))


@pytest.mark.parametrize(
    "found, status",
    [
        ("2.9.1", "fail"),
        ("2.9.1+cpu", "fail"),
        ("2.10.0+cu128", "ok"),
        ("2.13.0", "ok"),
        ("3.0", "ok"),
        ("2.11.0.dev20260101", "ok"),
    ],
)
def test_old_packages_fail(packages, found, status):
    packages(torch=found)
    finding = of("torch", doctor._packages())
    assert (finding.status, finding.found) == (status, found)
    assert finding.fix == ("pip install -U torch" if status == "fail" else "")


def test_missing_packages_fail(packages):
    packages(diffusers=None)
    finding = of("diffusers", doctor._packages())
    assert finding.status == "fail" and finding.fix == "pip install 'diffusers>=0.42.1'"


@pytest.mark.parametrize(
    "plain, gpu, status, found",
    [
        (None, None, "ok", "not installed"),
        ("1.31", None, "ok", "onnxruntime"),
        (None, "1.31", "ok", "onnxruntime-gpu"),
        ("1.31", "1.31", "fail", "onnxruntime and onnxruntime-gpu"),
    ],
)
def test_both_onnxruntimes_fail(packages, plain, gpu, status, found):
    packages(onnxruntime=plain, onnxruntime_gpu=gpu)
    finding = doctor._onnxruntime()
    assert (finding.status, finding.found) == (status, found)
    assert ("pip uninstall onnxruntime onnxruntime-gpu" in finding.fix) == (status == "fail")


@pytest.mark.parametrize("gib, status", [(3.9, "warn"), (4.1, "ok")])
def test_memory(monkeypatch, gib, status):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(int(gib * 2**30)))
    finding = doctor._memory()
    assert finding.status == status and finding.found == f"{gib} GiB free" and bool(finding.fix) == (status == "warn")


@pytest.mark.parametrize("gib, status", [(1.9, "warn"), (2.1, "ok")])
def test_disk(monkeypatch, gib, status):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(int(gib * 2**30)))
    finding = doctor._disk()
    assert finding.status == status and ("--output" in finding.fix) == (status == "warn")


def test_a_machine_without_a_gpu_is_warned(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = of("device", doctor._machine())
    assert (finding.status, finding.found) == ("warn", "cpu") and "GPU" in finding.fix


@pytest.mark.parametrize("backend, status", [("openvino", "ok"), ("torch", "warn")])
def test_a_slower_backend_is_warned(monkeypatch, backend, status):
    import torch

    from dogfast.engines import choice

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(choice, "why_not", lambda name: "" if name in ("torch", backend) else "is not installed")
    finding = of("backend", doctor._machine())
    assert (finding.status, finding.found) == (status, backend) and ("dogfast[cpu]" in finding.fix) == (status == "warn")


def test_engines(monkeypatch, tmp_path):
    place = tmp_path / "engines"
    monkeypatch.setenv("DOGFAST_ENGINES", str(place))
    assert doctor._engines().found == "none yet"
    (place / "entry").mkdir(parents=True)
    place.chmod(0o755)
    assert doctor._engines().status == "fail" and f"chmod 700 {place}" in doctor._engines().fix
    place.chmod(0o700)
    (place / "entry" / "plan").write_bytes(b"x")
    assert (doctor._engines().status, doctor._engines().found) == ("ok", "1 entries, 0.0 GiB")


@pytest.mark.parametrize("cached, status", [(True, "ok"), (False, "warn")])
def test_models(monkeypatch, tmp_path, cached, status):
    from dogfast.diffusion import load

    monkeypatch.setattr(doctor, "_in_hub_cache", lambda repo: cached)
    monkeypatch.setitem(load.KNOWN_MODELS, "tiny", str(tmp_path))
    tiny, sd15 = doctor._models()
    assert (tiny.status, tiny.fix) == ("fail", "reinstall dogfast")
    assert sd15.status == status and bool(sd15.fix) != cached


@pytest.mark.parametrize("there", [True, False])
def test_wordnet(monkeypatch, tmp_path, there):
    from nltk import data

    monkeypatch.setattr(data, "path", [str(tmp_path)])
    if there:
        (tmp_path / "corpora" / "wordnet").mkdir(parents=True)
    (finding,) = doctor._vocabularies()
    assert (finding.status, finding.fix) == ("ok", ""), "nothing needs it but --vocabulary nltk"
    assert finding.found == ("present" if there else "not here")


@pytest.mark.parametrize("value, status", [(None, "ok"), ("", "ok"), (".", "ok"), ("/nowhere/at/all", "fail")])
def test_the_data_variable(monkeypatch, value, status):
    monkeypatch.delenv("DOGFAST_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("DOGFAST_DATA", value)
    finding = doctor._data()
    assert finding.status == status and (finding.found == "not set") == (not value)
