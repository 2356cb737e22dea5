"""Shards in an object store that fails in every way: a real S3 server, whose answers are spoilt on the way."""

import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

import dogfast.store
from dogfast.errors import DataError, EnvironmentFault, RunMismatch
from dogfast.events import Events
from dogfast.run import Run, launch, open_run
from dogfast.shards.reader import load_outliers, read_records, read_shard
from dogfast.synthesis.stage import generate
from dogfast.workflows.shards import list_shards, repair_shards, verify_shards

pytest.importorskip("s3fs", reason="the driver of S3 is not installed")
pytest.importorskip("moto", reason="the S3 server of the tests is not installed")

SCRIPT = Path(__file__).parent / "painting.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
BUCKET = "outliers"
SHARDS, IMAGES = 3, 12
PATIENCE_S = 300


# --- a server that can be spoilt --------------------------------------------------------------------------------
def kind_of(environ):
    """What a request is about, as `PUT tar` or `LIST`."""
    path = environ["PATH_INFO"]
    what = "record" if "/records/" in path else "tar" if path.endswith(".tar") else "card" if path.endswith(".md") else "other"
    return "LIST" if "list-type" in environ.get("QUERY_STRING", "") else f"{environ['REQUEST_METHOD']} {what}"


class Spoilt:
    """The server's application. ``spoil(number, kind)`` names what is done to a request, "" for nothing."""

    def __init__(self, app):
        self.app, self.lock = app, threading.Lock()
        self.calm()

    def calm(self):
        self.kinds, self.spoil = [], lambda number, kind: ""

    def __call__(self, environ, answer):
        kind = kind_of(environ)
        with self.lock:
            self.kinds.append(kind)
            what = self.spoil(len(self.kinds) - 1, kind)
        return WAYS[what](self.app, environ, answer) if what else self.app(environ, answer)


def refused(status, code):
    def refuse(app, environ, answer):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        said = f"<Error><Code>{code}</Code><Message>{code} it says</Message></Error>".encode()
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else said
        answer(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return refuse


def reset(app, environ, answer):
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def answer_lost(app, environ, answer):
    """The store does what it was asked, and the answer does not come through."""
    list(app(environ, lambda *given: None))
    return reset(app, environ, answer)


def cut_short(app, environ, answer):
    """Half of the body arrives, and nobody notices."""
    content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    kept = {name: value for name, value in environ.items() if "CHECKSUM" not in name and "MD5" not in name}
    half = content[: len(content) // 2]
    return app(kept | {"wsgi.input": io.BytesIO(half), "CONTENT_LENGTH": str(len(half))}, answer)


def late(app, environ, answer):
    time.sleep(0.5)
    return refused("500 Internal Server Error", "InternalError")(app, environ, answer)


WAYS = {
    "500": refused("500 Internal Server Error", "InternalError"),
    "503": refused("503 Slow Down", "SlowDown"),
    "429": refused("429 Too Many Requests", "TooManyRequests"),
    "403": refused("403 Forbidden", "AccessDenied"),
    "reset": reset,
    "answer lost": answer_lost,
    "cut short": cut_short,
    "late": late,
}
PASSING = ("500", "503", "429", "reset", "answer lost")


@pytest.fixture(scope="module")
def server():
    from moto.server import DomainDispatcherApplication, create_backend_app
    from s3fs import S3FileSystem
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *given):
            pass

    spoilt = Spoilt(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, spoilt, threaded=True, request_handler=Quiet)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{serving.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    S3FileSystem.clear_instance_cache()
    with patch.dict(os.environ, variables), patch.multiple(S3FileSystem, retries=1, read_timeout=0.3):
        yield spoilt
        S3FileSystem.clear_instance_cache()
    serving.shutdown()


@pytest.fixture(scope="module")
def client(server):
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def store(server, client, monkeypatch):
    """A bucket that is empty, and pauses that take no time."""
    server.calm()
    empty(client)
    server.calm()
    monkeypatch.setattr(dogfast.store, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(dogfast.store, "LONGEST_PAUSE_S", 0.001)
    dogfast.store.ENDING.clear()
    return server


def objects(client):
    """Every object of the bucket by its name."""
    found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in found}


def empty(client):
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])


def paint(root, store="", say=None, **synthesis):
    config = fakes.config(**{"m": 4, "samples_per_shard": 4, "store": store} | synthesis)
    events = Events(lambda event, fields: say.append(fields["text"]) if say is not None and event == "note" else None)
    with fakes.installed(), launch(root, config.to_toml()) as run:
        run.say = events.say
        fakes.write_conditions(config, run, None)
        return generate(config, run, events)


URL = f"s3://{BUCKET}/deep/er"


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    root = tmp_path_factory.mktemp("calm") / "run"
    paint(root)
    return root


def assert_like_a_calm_run(client, calm):
    """The bytes of a local run under the same names, and nothing else."""
    there = {key.removeprefix("deep/er/"): content for key, content in objects(client).items()}
    here = {
        str(path.relative_to(calm / "outliers")): path.read_bytes() for path in calm.glob("outliers/dog/**/*") if path.is_file()
    }
    assert there.keys() == here.keys()
    for name, content in here.items():
        if name.endswith(".json"):
            assert {**json.loads(there[name]), "seconds": 0} == {**json.loads(content), "seconds": 0}
        else:
            assert there[name] == content
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


# --- what works -------------------------------------------------------------------------------------------------
def test_the_bytes_of_a_folder_and_every_command_finds_them(store, client, calm, tmp_path):
    result = paint(tmp_path / "run", URL)
    assert (result["outliers"], result["shards"], result["failed"]) == (IMAGES, SHARDS, 0)
    assert_like_a_calm_run(client, calm)
    assert [path.name for path in (tmp_path / "run" / "outliers").iterdir()] == ["store.txt"]
    run = open_run(tmp_path / "run")
    assert str(run.outliers("dog")) == f"{URL}/dog"
    assert list_shards(run, "")["sources"]["dog"]["samples"] == IMAGES
    assert verify_shards(run, "", Events()) == {"run": str(run.root), "shards": SHARDS, "faults": {"dog": []}}
    assert len(load_outliers(run.outliers("dog"), 8)) == IMAGES
    from dogfast.reporting.gallery import painted_sources, sample_outliers
    from dogfast.training.sources import shards_of

    assert painted_sources(run) == ["dog"] and len(list(sample_outliers(run.outliers("dog"), 99, 99))) == IMAGES
    assert shards_of(run, "dog") == shards_of(Run(tmp_path / "other"), f"{URL}/dog") == run.outliers("dog")
    assert paint(tmp_path / "run")["resumed_shards"] == SHARDS, "later commands need not repeat --store"
    assert paint(tmp_path / "run", URL, m=5)["outliers"] == 15


def test_tars_at_a_store_are_plain_ones(store, tmp_path):
    import fsspec
    import webdataset

    paint(tmp_path / "run", URL)
    url = f"{URL}/dog/train-00000.tar"
    with fsspec.open(url) as file:
        assert len(tarfile.open(fileobj=file).getnames()) == 8
    with fsspec.open(url) as file:
        members = webdataset.tariterators.tar_file_expander([{"url": url, "stream": file}])
        samples = list(webdataset.tariterators.group_by_keys(members))
    assert len(samples) == 4 and all({"png", "json"} < sample.keys() for sample in samples)


def test_what_was_listed_is_never_remembered(store, client):
    """Others put and remove there as well."""
    place = dogfast.store.open_place(URL, "--store")
    client.put_object(Bucket=BUCKET, Key="deep/er/one.tar", Body=b"1")
    assert place.glob("*") == [place / "one.tar"] and (place / "one.tar").exists()
    client.put_object(Bucket=BUCKET, Key="deep/er/two.tar", Body=b"2")
    assert (place / "two.tar").exists() and len(place.glob("*")) == 2
    client.delete_object(Bucket=BUCKET, Key="deep/er/one.tar")
    assert not (place / "one.tar").exists() and place.glob("*") == [place / "two.tar"]


def test_a_folder_elsewhere_is_written_as_ever(tmp_path, calm):
    paint(tmp_path / "run", str(tmp_path / "big disk"))
    assert fakes.tars(tmp_path / "big disk" / "dog") == fakes.tars(calm / "outliers" / "dog")
    assert open_run(tmp_path / "run").outliers("dog") == tmp_path / "big disk" / "dog"
    assert not fakes.leftovers(tmp_path)


def test_a_damaged_shard_is_named_by_its_url_and_repaired(store, client, calm, tmp_path):
    paint(tmp_path / "run", URL)
    run = open_run(tmp_path / "run")
    client.put_object(Bucket=BUCKET, Key="deep/er/dog/train-00000.tar", Body=b"x" * 2048)
    client.delete_object(Bucket=BUCKET, Key="deep/er/dog/train-00001.tar")
    faults = verify_shards(run, "dog", Events())["faults"]["dog"]
    assert [fault["record"] for fault in faults] == ["00000.json", "00001.json"]
    assert f"{URL}/dog/train-00000.tar is damaged" in faults[0]["reason"]
    with pytest.raises(DataError, match=f"{URL}/dog/records/00001.json names 'train-00001.tar', which is missing"):
        read_records(run.outliers("dog"))
    with fakes.installed():
        repaired = repair_shards(fakes.config(), run, Events(), "dog")["repaired"]["dog"]
    assert [fault["pixels"] for fault in repaired] == ["the recorded ones"] * 2
    assert_like_a_calm_run(client, calm)


# --- what passes ------------------------------------------------------------------------------------------------
KINDS = ("LIST", "PUT tar", "GET tar", "PUT record", "GET record", "HEAD tar", "PUT card")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in ("LIST", "PUT tar") else pytest.mark.slow) for k in KINDS])
def test_a_failure_that_passes_costs_nothing(store, client, calm, tmp_path, kind):
    """The first requests of a kind fail, each in another way."""
    ways, said = iter(PASSING), []
    store.spoil = lambda number, asked: next(ways, "") if asked == kind else ""
    assert paint(tmp_path / "run", URL, say=said)["shards"] == SHARDS
    told = [text for text in said if "trying again for up to 5 minutes" in text]
    assert told and "s3://" in told[0] and next(ways, "none left") == "none left"
    store.calm()
    assert_like_a_calm_run(client, calm)


@pytest.mark.parametrize("kind", ["PUT tar", *(pytest.param(k, marks=pytest.mark.slow) for k in ("PUT record", "PUT card"))])
def test_an_upload_that_arrives_in_part_is_put_again(store, client, calm, tmp_path, kind):
    ways = iter(["cut short", "", "cut short"])
    store.spoil = lambda number, asked: next(ways, "") if asked == kind else ""
    paint(tmp_path / "run", URL)
    store.calm()
    assert_like_a_calm_run(client, calm)


def test_a_record_is_put_only_when_its_tar_was_read_back(store, client, tmp_path):
    store.spoil = lambda number, kind: "cut short" if kind == "PUT tar" else ""
    with patch.object(dogfast.store, "PATIENCE_S", 0.05), pytest.raises(EnvironmentFault, match="is not what was sent"):
        paint(tmp_path / "run", URL)
    assert "PUT record" not in store.kinds


def test_a_silent_store_is_asked_again(store, client, calm, tmp_path):
    ways = iter(["late"])
    store.spoil = lambda number, kind: next(ways, "") if kind == "PUT tar" else ""
    paint(tmp_path / "run", URL)
    store.calm()
    assert_like_a_calm_run(client, calm)


@pytest.mark.slow
def test_every_request_in_turn_may_fail(store, client, calm, tmp_path):
    paint(tmp_path / "count", URL)
    for number, way in zip(range(len(store.kinds)), cycle(PASSING)):
        empty(client)
        store.calm()
        store.spoil = lambda at, _, number=number, way=way: way if at == number else ""
        assert paint(tmp_path / f"run{number}", URL)["outliers"] == IMAGES
        store.calm()
        assert_like_a_calm_run(client, calm)


QUICK = (("PUT record", "403"), ("PUT tar", "503"))
STAYING = [pytest.param(k, w, marks=() if (k, w) in QUICK else pytest.mark.slow) for k in KINDS for w in ("403", "503")]


# --- what stays -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind, way", STAYING)
def test_a_failure_that_stays_ends_the_command_and_the_same_one_goes_on(store, client, calm, tmp_path, kind, way):
    """Refused for good, or not answered for longer than we wait: from the second request of a kind on."""
    store.spoil = lambda number, asked: (
        way if store.kinds.count(kind) > (1 if kind != "PUT card" else 0) and asked == kind else ""
    )
    words = {"403": "check the credentials", "503": "see that it can be reached"}
    with patch.object(dogfast.store, "PATIENCE_S", 0.02), pytest.raises(EnvironmentFault, match=words[way]) as told:
        paint(tmp_path / "run", URL)
    assert URL in str(told.value) and "the same command goes on where it stopped" in str(told.value)
    store.calm()
    before = len(read_records(open_run(tmp_path / "run").outliers("dog")))
    assert paint(tmp_path / "run", URL)["resumed_shards"] == before
    store.calm()
    assert_like_a_calm_run(client, calm)


def test_a_listing_that_fails_is_not_an_empty_one(store, tmp_path):
    """It would take the plan away."""
    paint(tmp_path / "run", URL)
    plan = tmp_path / "run" / "plan" / "dog" / "000.json"
    written = plan.stat().st_mtime_ns
    store.spoil = lambda number, kind: "403" if kind == "LIST" else ""
    with pytest.raises(EnvironmentFault, match="cannot list"):
        paint(tmp_path / "run", URL)
    assert plan.stat().st_mtime_ns == written


def test_no_more_is_tried_once_the_process_is_asked_to_end(store, tmp_path):
    store.spoil = lambda number, kind: "503"
    dogfast.store.ENDING.set()
    with patch.object(dogfast.store, "PATIENCE_S", 0.5), pytest.raises(EnvironmentFault):
        paint(tmp_path / "run", URL)
    assert store.kinds == ["LIST"]


def command(run, *more):
    plain = "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --m 4 --steps 2 --samples-per-shard 4"
    return [*plain.split(), "--rows", "4", "--output", str(run), *more]


def dogfast_generate(run, *more, capsys):
    """Exit code and stderr of the command, in this process."""
    from dogfast.cli.main import main

    with (
        fakes.installed(),
        patch("dogfast.workflows.chain.find_anchors", fakes.write_conditions),
        patch.object(sys, "argv", ["dogfast", "generate", *command(run, *more)]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return ended.value.code, capsys.readouterr().err


REFUSED = {
    "s3://no-such-bucket/x": (3, "make that bucket"),
    "s3://key:secret@outliers/x": (2, "AWS_ACCESS_KEY_ID"),
    "s3://outliers/x?X-Amz-Signature=secret": (2, "AWS_ACCESS_KEY_ID"),
    "pipe:cat secret": (2, "is no URL"),
    "simplecache::s3://outliers/x": (2, "chained"),
    "reference://outliers": (2, "no store"),
    "nonesuch://outliers": (2, "Protocol not known"),
    "gs://outliers/x": (3, "gcsfs"),
    "s3://": (2, "names no bucket"),
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_refused_is_refused_at_once_with_one_message(store, tmp_path, capsys, url):
    code, told = dogfast_generate(tmp_path / "run", "--store", url, capsys=capsys)
    expected, words = REFUSED[url]
    assert code == expected and words in told and told.count("error:") == 1 and "Traceback" not in told
    assert "secret" not in told or url.startswith("pipe")
    assert not (tmp_path / "run" / "outliers").exists()


def test_rights_that_are_missing_end_the_command_with_their_code(store, tmp_path, capsys):
    store.spoil = lambda number, kind: "403" if kind == "PUT tar" else ""
    code, told = dogfast_generate(tmp_path / "run", "--store", URL, capsys=capsys)
    assert code == 3 and told.count("error:") == 1 and f"cannot write {URL}/dog/train-00000.tar" in told


def test_without_the_driver_the_extra_is_named(tmp_path):
    with patch.dict(sys.modules, {"s3fs": None}), patch.dict("fsspec.registry._registry", clear=True):
        with pytest.raises(EnvironmentFault, match=r"pip install 'dogfast\[s3\]'"):
            dogfast.store.open_place(URL, "--store")


def test_outliers_do_not_move(store, tmp_path):
    paint(tmp_path / "run", URL)
    with pytest.raises(RunMismatch, match=f"has its outliers at {URL}, and --store names s3://{BUCKET}/other"):
        paint(tmp_path / "run", f"s3://{BUCKET}/other")
    paint(tmp_path / "local")
    with pytest.raises(RunMismatch, match="local/outliers, and --store names"):
        paint(tmp_path / "local", URL)
    with pytest.raises(RunMismatch, match=f"{URL}/dog holds shards that .* did not paint; choose another --store"):
        paint(tmp_path / "another run", URL)


def test_a_strange_store_file_is_told(store, tmp_path):
    paint(tmp_path / "run", URL)
    (tmp_path / "run" / "outliers" / "store.txt").write_text("simplecache::s3://outliers/x")
    with pytest.raises(DataError, match=r"store\.txt names no place of outliers"):
        open_run(tmp_path / "run").outliers("dog")


# --- processes --------------------------------------------------------------------------------------------------
def spawned(starter, run, store=URL):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "PAUSE_S": "0"}
    words = [*starter, str(SCRIPT), "cli", *command(run, *(["--store", store] if store else []), "--json")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def calm_command(tmp_path_factory):
    run = tmp_path_factory.mktemp("calm") / "command"
    process = spawned([sys.executable], run, store="")
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, told
    return run


@pytest.mark.slow
def test_killed_between_a_tar_and_its_record(store, client, calm_command, tmp_path):
    """The server kills its client when the second record comes, and keeps no record."""
    running = []

    def kill(app, environ, answer):
        running[0].send_signal(signal.SIGKILL)
        return reset(app, environ, answer)

    with patch.dict(WAYS, kill=kill):
        store.spoil = lambda number, kind: "kill" if kind == "PUT record" and store.kinds.count(kind) == 2 else ""
        running.append(spawned([sys.executable], tmp_path / "run"))
        running[0].communicate(timeout=PATIENCE_S)
    assert running[0].returncode == -signal.SIGKILL
    names = objects(client)
    assert "deep/er/dog/train-00001.tar" in names and "deep/er/dog/records/00001.json" not in names
    store.calm()
    again = spawned([sys.executable], tmp_path / "run")
    answer, told = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, told
    assert json.loads(answer.splitlines()[0])["resumed_shards"] == 1
    assert_like_a_calm_run(client, calm_command)


@pytest.mark.slow
def test_two_processes_paint_to_one_store(store, client, calm_command, tmp_path):
    starter = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    ]
    process = spawned(starter, tmp_path / "run")
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, told
    folder = open_run(tmp_path / "run").outliers("dog")
    records = read_records(folder)
    assert {record["rank"] for record in records} == {0, 1}
    keys = [sample.key for record in records for sample in read_shard(folder / record["tar"], record["sha256"])]
    assert len(keys) == len(set(keys)) == IMAGES
    tars = {key.rpartition("/")[2]: content for key, content in objects(client).items() if key.endswith(".tar")}
    assert tars == fakes.tars(calm_command / "outliers" / "dog")
