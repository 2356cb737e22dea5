"""Where shards may lie besides a folder: at an object store, reached through fsspec by the few verbs of `pathlib` they need.

What fails for the moment (a time-out, a reset, 5xx, 429) is tried again; listings are never cached; what was put is read
back. fsspec's own `exists`, `find` and `glob`, and the path libraries that stand on them, pass over failures: a shard that
cannot be seen for the moment would be taken for one that is not there.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, TypeVar

from dogfast.errors import EnvironmentFault, UsageError
from dogfast.text import first_line

T = TypeVar("T")
Say = Callable[[str], None]
PATIENCE_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
ENDING = Event()
"""Set when this process is asked to end: what fails from then on is not tried again."""

NO_STORES = frozenset(
    "async_wrapper asyncwrapper blockcache cached dask data dir dvc filecache generic gist git github http https jlab jupyter "
    "libarchive pyscript reference simplecache tar wandb zip".split()
)
"""Protocols of fsspec that wrap another place, run others' code, or cannot be written."""
OF_DRIVER = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
"""What a driver is opened with: it leaves trying again to us."""
OF_PUT = {"s3": {"chunksize": 5 * 2**30}}
"""A shard is one request, so that no upload in parts is ever left half done."""


# --- names ------------------------------------------------------------------------------------------------------
def check_place(where: str, flag: str) -> None:
    """Raise :class:`UsageError` unless ``where`` may be a folder or the URL of a store. No URL with secrets is repeated."""
    protocol, is_url, rest = where.partition("://")
    refusals = {
        "chained URLs (with ::) are refused; name the store itself": "::" in where,
        f"{where} is no URL; write s3://bucket/path, or ./name for a folder": not is_url and re.match(r"\w[\w+.-]+:", where),
        f"{protocol}:// is no store that shards can be put into; choose s3://bucket/path or alike": protocol in NO_STORES,
        "a URL with a password or a query is refused, for it is written into the run; give credentials by the driver's own "
        "variables, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": is_url and re.search(r":[^@]*@|\?", rest),
        f"{where} names no bucket or folder": is_url and not rest.strip("/"),
    }
    for reason, holds in refusals.items():
        if holds:
            raise UsageError(f"{flag}: {reason}")


def open_place(where: str, flag: str, say: Say = lambda text: None) -> Place:
    """The folder or store that ``where`` names; ``flag`` is what messages call it, ``say`` is told of troubles that pass.

    Raises UsageError for what is neither, EnvironmentFault where the driver is missing or refuses.
    """
    check_place(where, flag)
    protocol, is_url, rest = where.partition("://")
    if not is_url or protocol in ("file", "local"):
        return Path(rest if is_url else where)
    import fsspec

    protocol = {"s3a": "s3"}.get(protocol, protocol)
    try:
        files, _ = fsspec.core.url_to_fs(f"{protocol}://{rest}", **OF_DRIVER.get(protocol, {}))
    except ImportError as error:
        remedy = "install it with `pip install 'dogfast[s3]'`" if protocol == "s3" else first_line(error)
        raise EnvironmentFault(f"{flag} {where}: the driver of {protocol}:// is missing; {remedy}") from error
    except ValueError as error:
        raise UsageError(f"{flag} {where}: {first_line(error)}") from error
    except Exception as error:
        raise EnvironmentFault(f"{flag} {where} cannot be opened ({first_line(error)})") from error
    return StorePath(f"{protocol}://{rest.rstrip('/')}", files, OF_PUT.get(protocol, {}), say)


# --- the store --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class StorePath:
    """One object at a store, or what lies below a name there: as much of `pathlib.Path` as shards need.

    Every verb tries again for `PATIENCE_S` seconds what fails for the moment, and raises EnvironmentFault for what stays.
    """

    url: str
    files: Any = field(compare=False, repr=False)
    of_put: dict[str, Any] = field(compare=False, repr=False)
    say: Say = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> StorePath:
        return replace(self, url=f"{self.url}/{name}".rstrip("/"))

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> StorePath:
        return replace(self, url=self.url.rpartition("/")[0])

    def absolute(self) -> StorePath:
        return self

    def exists(self) -> bool:
        return self._kind() != ""

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def stat(self) -> SimpleNamespace:
        """`st_size` in bytes; FileNotFoundError where there is no such object."""
        return SimpleNamespace(st_size=self._info()["size"])

    def read_bytes(self) -> bytes:
        """The whole object; FileNotFoundError where there is none."""
        return self._answer("read", lambda: self.files.cat_file(self._key))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    def put(self, content: bytes) -> None:
        """Make ``content`` this object, and read it back: what differs is put again, as what failed is."""

        def put_and_compare() -> None:
            self.files.pipe_file(self._key, content, **self.of_put)
            if self.files.cat_file(self._key) != content:
                raise ConnectionError("what is stored is not what was sent")

        try:
            self._answer("write", put_and_compare)
        except FileNotFoundError as error:
            raise _fault(self, "write", error) from error

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._answer("remove", lambda: self.files.rm_file(self._key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def glob(self, pattern: str) -> list[StorePath]:
        """What lies directly below and fits, by name; nothing where nothing lies."""

        def listed() -> list[str]:
            self.files.invalidate_cache()
            return self.files.ls(self._key, detail=False)

        try:
            found = self._answer("list", listed)
        except FileNotFoundError:
            return []
        names = sorted({place.rstrip("/").rpartition("/")[2] for place in found})
        return [self / name for name in names if fnmatchcase(name, pattern)]

    @property
    def _key(self) -> str:
        return self.files._strip_protocol(self.url)

    def _kind(self) -> str:
        try:
            return self._info()["type"]
        except FileNotFoundError:
            return ""

    def _info(self) -> dict[str, Any]:
        def info() -> dict[str, Any]:
            self.files.invalidate_cache()
            return self.files.info(self._key)

        return self._answer("look at", info)

    def _answer(self, verb: str, ask: Callable[[], T]) -> T:
        """What ``ask`` returns in the end. FileNotFoundError says that the store answered, and there is no such thing."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential
        from tenacity.nap import sleep_using_event
        from tenacity.stop import stop_when_event_set

        def tell(state: Any) -> None:
            if state.attempt_number == 1:
                reason = first_line(state.outcome.exception())
                self.say(f"cannot {verb} {self} just now ({reason}); trying again for up to {PATIENCE_S / 60:g} minutes")

        patiently = Retrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S),
            stop=stop_after_delay(PATIENCE_S) | stop_when_event_set(ENDING),
            sleep=sleep_using_event(ENDING),
            before_sleep=tell,
            reraise=True,
        )
        try:
            return patiently(ask)
        except FileNotFoundError as error:
            if _told(error)[1] == "NoSuchBucket":
                raise _fault(self, verb, error) from error
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except Exception as error:
            raise _fault(self, verb, error) from error


Place = Path | StorePath
"""A folder, or a place at a store."""


# --- failures ---------------------------------------------------------------------------------------------------
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
PASSING_CODES = ("RequestTimeout", "IncompleteBody", "BadDigest", "SlowDown")
PASSING_ERRNOS = tuple(
    getattr(errno, name)
    for name in "EAGAIN EBUSY EHOSTDOWN EHOSTUNREACH EIO ENETDOWN ENETRESET ENETUNREACH EREMOTEIO ESTALE ETIMEDOUT".split()
    if hasattr(errno, name)
)
PASSING_KINDS = (
    *("HTTPClientError", "ResponseStreamingError", "IncompleteReadError", "ResponseParserError"),  # botocore
    *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),  # aiohttp
    *("ServiceRequestError", "ServiceResponseError"),  # Azure
    *("TransportError", "ChecksumError"),  # Google
)
"""The drivers' own names for a network that fails; they are no OSError."""


def passes(error: BaseException) -> bool:
    """Whether ``error`` is one that time may heal."""
    if isinstance(error, (TimeoutError, ConnectionError)) or any(
        kind.__name__ in PASSING_KINDS for kind in type(error).__mro__
    ):
        return True
    status, code = _told(error)
    if status is not None:
        return status in PASSING_STATUS or code in PASSING_CODES
    return getattr(error, "errno", None) in PASSING_ERRNOS


def _told(error: BaseException | None) -> tuple[int | None, str]:
    """The status and the code the store answered with, by the ways the drivers have of keeping them; (None, "") for none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {}).get("Code", "")
        for name in ("status", "status_code", "code"):
            if isinstance(status := getattr(error, name, None), int):
                return status, ""
        error = error.__cause__
    return None, ""


def _fault(place: StorePath, verb: str, error: BaseException) -> EnvironmentFault:
    if isinstance(error, PermissionError):
        remedy = "check the credentials in the driver's variables (as AWS_ACCESS_KEY_ID) and what they may do there"
    elif isinstance(error, FileNotFoundError):
        remedy = "make that bucket or folder, or choose another --store"
    elif passes(error):
        remedy = "see that it can be reached"
    else:
        remedy = "check --store and the driver's settings"
    return EnvironmentFault(f"cannot {verb} {place}: {first_line(error)}; {remedy}; the same command goes on where it stopped")
