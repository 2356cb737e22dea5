"""Entries on disk: whole or absent, believed only when every byte is as built, one builder a key."""

import json
import os
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from dogfast.engines import cache as module
from dogfast.engines.cache import Cache, Untrusted, default_folder, key_of
from dogfast.errors import EnvironmentFault

FIELDS = {"network": "unet", "rows": 4}
OTHER = {"network": "unet", "rows": 8}


def nobody_waits():
    raise AssertionError("nobody else builds here")


def fill(folder):
    (folder / "model.plan").write_bytes(b"machine code")
    (folder / "notes").write_bytes(b"")
    return {"build_s": 1.5}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "engines")


@pytest.fixture
def entry(cache):
    return cache.build(FIELDS, fill, nobody_waits)


def refusal(cache, fields=FIELDS):
    with pytest.raises(Untrusted) as caught:
        cache.find(fields)
    return str(caught.value)


# --- what stands ------------------------------------------------------------------------------------------------
def test_what_was_built_is_found(cache, entry):
    found = cache.find(FIELDS)
    assert found == entry
    assert (found.folder / "model.plan").read_bytes() == b"machine code"
    assert found.facts == {"build_s": 1.5} and set(found.files) == {"model.plan", "notes"}
    assert found.folder.name == key_of(FIELDS)


def test_nothing_is_found_where_nothing_was_built(cache, entry):
    assert cache.find(OTHER) is None
    assert Cache(cache.root / "elsewhere").find(FIELDS) is None
    assert not (cache.root / "elsewhere").exists(), "looking makes no folder"


def test_only_this_user_can_enter(cache, entry):
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (cache.root, entry.folder, *entry.folder.iterdir())}
    assert all(not mode & 0o077 for mode in modes.values()), modes


def test_other_facts_can_be_stated(cache, entry):
    cache.restate(entry, {"parity": "ok"})
    assert cache.find(FIELDS).facts == {"parity": "ok"}
    assert not list(cache.root.glob(".part-*"))


def test_facts_are_stated_while_others_read(cache, entry):
    """A reader meets the former facts or the new ones, never half of them."""
    done, met = threading.Event(), []

    def read():
        while not done.is_set():
            met.append(cache.find(FIELDS).facts["turn"])

    cache.restate(entry, {"turn": -1})
    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(50):
        cache.restate(entry, {"turn": turn})
    done.set()
    reader.join(20)
    assert met == sorted(met)


def test_the_folder_is_named_by_the_variable_or_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DOGFAST_ENGINES", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
    monkeypatch.delenv("DOGFAST_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "dogfast" / "engines"


# --- what is not believed ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["model.plan", "sidecar.json"])
@pytest.mark.parametrize("how", ["truncated", "edited", "emptied", "missing", "linked", "a folder", "open to others"])
def test_a_file_that_was_touched_is_refused(cache, entry, tmp_path, name, how):
    path = entry.folder / name
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[:-2])
    elif how == "edited":
        path.write_bytes(content.replace(b"c", b"k"))
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "open to others":
        path.chmod(0o666)
    else:
        path.unlink()
    if how == "linked":
        (tmp_path / "copy").write_bytes(content)
        path.symlink_to(tmp_path / "copy")
    elif how == "a folder":
        path.mkdir()
    assert refusal(cache)


def test_an_entry_under_anothers_key_is_refused(cache, entry):
    cache.build(OTHER, fill, nobody_waits)
    one, two = entry.folder, cache.root / key_of(OTHER)
    one.rename(cache.root / "aside")
    two.rename(one)
    assert "speaks of another engine (rows)" in refusal(cache)


def test_swapped_plans_are_refused(cache, entry):
    other = cache.build(OTHER, lambda folder: (folder / "model.plan").write_bytes(b"another code") and {}, nobody_waits)
    os.replace(other.folder / "model.plan", entry.folder / "model.plan")
    assert refusal(cache) == "model.plan is not as it was built"


def test_a_file_that_was_added_is_refused(cache, entry):
    (entry.folder / "libplugin.so").write_bytes(b"")
    assert "not those its sidecar.json lists" in refusal(cache)


def test_a_linked_entry_is_refused(cache, entry, tmp_path):
    entry.folder.rename(tmp_path / "real")
    entry.folder.symlink_to(tmp_path / "real")
    assert refusal(cache) == f"{key_of(FIELDS)} is no folder"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"fields": {}, "files": [], "facts": {}}', "[" * 100_000, "\udcff"])
def test_a_sidecar_that_says_nothing_is_refused(cache, entry, text):
    (entry.folder / "sidecar.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert refusal(cache) == "its sidecar.json is damaged"


@pytest.mark.parametrize("part", ["fields", "files", "facts"])
def test_an_edited_sidecar_is_refused(cache, entry, part):
    path = entry.folder / "sidecar.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: {}}))
    assert refusal(cache) == "its sidecar.json was edited"


def test_paths_in_a_sidecar_lead_nowhere(cache, entry):
    files = {"../../secret": {"sha256": "0", "bytes": 0}}
    module._write_sidecar(entry.folder / "sidecar.json", FIELDS, files, {})
    assert "not those its sidecar.json lists" in refusal(cache)


def test_an_entry_of_another_user_is_refused(cache, entry, monkeypatch):
    stranger = os.getuid() + 1
    monkeypatch.setattr(module, "check_private", lambda root, flag: None)
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    assert "belongs to, or can be written by, another user" in refusal(cache)


@pytest.mark.parametrize("act", ["find", "build"])
def test_a_cache_open_to_others_is_not_used(cache, entry, act):
    cache.root.chmod(0o755)
    with pytest.raises(EnvironmentFault, match=f"chmod 700 {cache.root}"):
        cache.find(FIELDS) if act == "find" else cache.build(OTHER, fill, nobody_waits)


def test_a_linked_cache_is_not_used(cache, entry, tmp_path):
    (tmp_path / "link").symlink_to(cache.root)
    with pytest.raises(EnvironmentFault, match="not a folder"):
        Cache(tmp_path / "link").find(FIELDS)


def test_a_cache_of_another_user_is_not_used(cache, entry, monkeypatch):
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    with pytest.raises(EnvironmentFault, match="belongs to another user"):
        cache.find(FIELDS)


# --- building ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("broken", ["sidecar.json", "model.plan", "folder", "link"])
def test_what_is_broken_is_built_again(cache, entry, tmp_path, broken):
    if broken == "folder":
        (entry.folder / "stray").mkdir()
    elif broken == "link":
        entry.folder.rename(tmp_path / "real")
        entry.folder.symlink_to(tmp_path / "real")
    else:
        (entry.folder / broken).write_text("?")
    refusal(cache)
    assert cache.build(FIELDS, fill, nobody_waits) == cache.find(FIELDS)
    assert not entry.folder.is_symlink()
    if broken == "link":
        assert (tmp_path / "real" / "model.plan").exists(), "what a link points to is not ours to remove"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, EnvironmentFault])
def test_a_build_that_fails_leaves_nothing(cache, error):
    def fail(folder):
        fill(folder)
        raise error("no")

    with pytest.raises(error):
        cache.build(FIELDS, fail, nobody_waits)
    assert cache.find(FIELDS) is None and list(cache.entries()) == []
    assert not list(cache.root.glob(".part-*"))


def test_a_full_disk_names_the_flag(cache):
    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentFault, match=r"No space left on device.*--engine-dir"):
        cache.build(FIELDS, full, nobody_waits)
    assert not list(cache.root.glob(".part-*"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_read_and_not_written(cache, entry):
    cache.root.chmod(0o500)
    try:
        assert cache.find(FIELDS) == entry
        with pytest.raises(EnvironmentFault, match=r"cannot write engines.*--engine-dir"):
            cache.build(OTHER, fill, nobody_waits)
    finally:
        cache.root.chmod(0o700)


def test_what_cannot_be_written_names_the_flag(cache, entry, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.tempfile, "mkdtemp", refuse)
    assert cache.find(FIELDS) == entry
    with pytest.raises(EnvironmentFault, match=r"cannot write .*engines.*Permission denied.*--engine-dir"):
        cache.build(OTHER, fill, nobody_waits)


def test_a_cache_that_cannot_be_made_names_the_flag(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="--engine-dir"):
        Cache(tmp_path / "file" / "engines").build(FIELDS, fill, nobody_waits)


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from dogfast.engines.cache import Cache

    def die(folder):
        (folder / "model.plan").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    Cache(Path(sys.argv[1])).build({"network": "unet", "rows": 4}, die, lambda: None)
    """
)


def test_a_killed_build_is_swept_and_done_again(cache):
    died = subprocess.run([sys.executable, "-c", KILLED, str(cache.root)], capture_output=True)
    assert died.returncode == -9
    assert len(list(cache.root.glob(".part-*"))) == 1 and cache.find(FIELDS) is None
    cache.build(FIELDS, fill, nobody_waits)
    assert not list(cache.root.glob(".part-*")) and cache.find(FIELDS)


def test_two_builders_of_one_key_build_once(cache):
    begun, go_on, waited, made = threading.Event(), threading.Event(), threading.Event(), []

    def slow(folder):
        begun.set()
        assert go_on.wait(20)
        made.append("first")
        return fill(folder)

    def second():
        found.append(cache.build(FIELDS, lambda folder: made.append("second") or fill(folder), waited.set))

    found = []
    first = threading.Thread(target=lambda: found.append(cache.build(FIELDS, slow, nobody_waits)))
    first.start()
    assert begun.wait(20)
    other = threading.Thread(target=second)
    other.start()
    assert waited.wait(20), "the second builder says that it waits"
    go_on.set()
    first.join(20)
    other.join(20)
    assert made == ["first"] and len(found) == 2 and found[0] == found[1] == cache.find(FIELDS)


def test_who_comes_late_takes_what_the_other_built(cache, entry):
    """The other finished after this one looked and before it had the lock."""
    assert cache.build(FIELDS, lambda folder: pytest.fail("it stands already"), nobody_waits) == entry


def test_two_processes_of_one_key_build_once(cache):
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from dogfast.engines.cache import Cache

        def slow(folder):
            print("built", flush=True)
            time.sleep(1)
            (folder / "model.plan").write_bytes(b"machine code")
            return {}

        Cache(Path(sys.argv[1])).build({"network": "unet", "rows": 4}, slow, lambda: print("waits", flush=True))
        """
    )
    command = [sys.executable, "-c", code, str(cache.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(word for words in said for word in words if word == "built") == ["built"]
    assert cache.find(FIELDS)


def test_other_keys_are_not_waited_for(cache):
    def nested(folder):
        cache.build(OTHER, fill, nobody_waits)
        return fill(folder)

    cache.build(FIELDS, nested, nobody_waits)
    assert cache.find(FIELDS) and cache.find(OTHER)


# --- timings ----------------------------------------------------------------------------------------------------
def test_timings_are_kept_for_the_gpu_they_were_measured_on(cache, entry, tmp_path):
    cache.keep_timings({"gpu": "a"}, b"measured")
    assert cache.timings({"gpu": "a"}) == b"measured" and cache.timings({"gpu": "b"}) == b""
    cache.keep_timings({"gpu": "a"}, b"")
    assert cache.timings({"gpu": "a"}) == b"measured"
    (tmp_path / "foreign").write_bytes(b"hostile")
    path = cache.root / ".timings" / key_of({"gpu": "a"})
    path.unlink()
    path.symlink_to(tmp_path / "foreign")
    assert cache.timings({"gpu": "a"}) == b""
    assert list(cache.entries()) == [entry.folder]


# --- pruning ----------------------------------------------------------------------------------------------------
def test_pruning_keeps_what_is_current(cache, entry):
    other = cache.build(OTHER, fill, nobody_waits)
    size = sum(path.stat().st_size for path in other.folder.iterdir())
    assert cache.prune(lambda fields: fields == FIELDS) == (1, size)
    assert cache.find(FIELDS) == entry and cache.find(OTHER) is None


def test_pruning_removes_what_is_broken_and_half_made(cache, entry, tmp_path):
    (entry.folder / "model.plan").write_bytes(b"x")
    (cache.root / f".part-{key_of(OTHER)}-abc").mkdir()
    (cache.root / "stray").symlink_to(tmp_path)
    assert cache.prune(lambda fields: True)[0] == 3
    assert list(cache.entries()) == [] and tmp_path.exists()


def test_pruning_leaves_alone_what_is_being_built(cache):
    def make(folder):
        assert cache.prune(lambda fields: False) == (0, 0)
        assert folder.exists()
        return fill(folder)

    cache.build(FIELDS, make, nobody_waits)
    assert cache.find(FIELDS)


def test_pruning_nothing_makes_nothing(cache):
    assert cache.prune(lambda fields: True) == (0, 0)
    assert not cache.root.exists()
