"""Chromium without a window, driven through its debugging protocol."""

import base64
import contextlib
import io
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request

import numpy as np

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--remote-allow-origins=*", "--no-first-run",
)  # fmt: skip
PATIENCE_S = 120.0


class Page:
    """A page of the browser."""

    def __init__(self, socket):
        self._socket, self._ids = socket, itertools.count(1)
        self.errors = []
        self.send("Page.enable")
        self.send("Runtime.enable")
        self.send("Network.enable")

    def send(self, method, **parameters):
        """Do what the protocol calls `method`; return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(message["params"]["exceptionDetails"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url):
        """Go to an address."""
        self.send("Page.navigate", url=str(url))
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true; return its value."""
        until = time.monotonic() + PATIENCE_S
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} did not become true"
            time.sleep(0.1)
        return value

    def resize(self, width, height):
        """Give the page another size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path=None):
        """Return what is seen, (height, width, 3)."""
        from PIL import Image

        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


@contextlib.contextmanager
def browser(width=800, height=600):
    """Start Chromium; yield an empty page."""
    from websockets.sync.client import connect

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, subprocess.Popen(
        [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            line = next(line for line in process.stderr if "DevTools listening on" in line)
            port = line.split("127.0.0.1:")[1].split("/")[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                target = next(each for each in json.load(answer) if each["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE_S) as socket:
                page = Page(socket)
                page.resize(width, height)
                yield page
        finally:
            process.terminate()


def differing(first, second):
    """Share of pixels that are clearly others."""
    return float((np.abs(first - second).max(-1) > 25).mean())
