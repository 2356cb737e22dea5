"""A headless Chromium, told what to do through its DevTools protocol over a pipe: no driver and no package is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60


def _spawn(command: list[str], from_us: int, from_it: int, folder: Path) -> int:
    """Start ``command`` with the two pipes as its descriptors 3 and 4, on which Chromium speaks; what it says goes to a file."""
    from_us, from_it = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (from_us, from_it))
    log = (os.POSIX_SPAWN_OPEN, 1, str(folder / "chromium.log"), os.O_WRONLY | os.O_CREAT, 0o600)
    copies = [(os.POSIX_SPAWN_DUP2, old, new) for old, new in ((1, 2), (from_us, 3), (from_it, 4))]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[log, *copies])
    os.close(from_us)
    os.close(from_it)
    return process


class Browser:
    """One page. ``events`` are the protocol's, in order of arrival: (method, parameters)."""

    def __init__(self, profile: Path):
        assert CHROMIUM
        from_us, self._to_it = os.pipe()
        self._from_it, from_it = os.pipe()
        self._process = _spawn(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], from_us, from_it, profile.parent
        )
        os.close(from_us)
        os.close(from_it)
        self._unread, self._number, self._session = b"", 0, ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._to_it)
        os.close(self._from_it)

    # --- the protocol -------------------------------------------------------------------------------------------
    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_it, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self, deadline: float) -> dict[str, Any]:
        """The browser's next message; an event is kept."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from_it], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._from_it, 1 << 20)
            assert part, "Chromium has ended"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        found = json.loads(message)
        if "method" in found:
            self.events.append((found["method"], found["params"]))
        return found

    # --- the page -----------------------------------------------------------------------------------------------
    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Be a screen of ``width`` by ``height`` pixels, a telephone's below 760."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 760)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> None:
        del self.events[:]
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + PATIENCE_S
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            self._next(deadline)

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the mouse at the middle of the first element of ``selector``, brought into view before."""
        box = self.evaluate(
            f"""(() => {{
              const found = document.querySelector({json.dumps(selector)});
              found.scrollIntoView({{block: "center", behavior: "instant"}});
              const box = found.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2, box.width * box.height];
            }})()"""
        )
        assert box[2] > 0, f"{selector} is not to be seen"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    # --- what it complained of ----------------------------------------------------------------------------------
    def complaints(self) -> list[str]:
        """Errors and warnings of the console and of the browser itself."""
        said = [str(p["entry"]["text"]) for method, p in self.events if method == "Log.entryAdded"]
        said += [str(p["exceptionDetails"]) for method, p in self.events if method == "Runtime.exceptionThrown"]
        return said + [str(p["args"]) for method, p in self.events if method == "Runtime.consoleAPICalled"]

    def requests(self) -> list[str]:
        """Addresses of everything that was asked for, data and blob addresses aside."""
        asked = [p["request"]["url"] for method, p in self.events if method == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]
