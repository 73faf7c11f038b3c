"""The viewer from Python: in a script it runs until Ctrl-C, in a notebook beside it."""

from __future__ import annotations

import threading
from typing import Any

from rpo_lightning.view.acting import acting
from rpo_lightning.view.camera import Camera
from rpo_lightning.view.live import Live
from rpo_lightning.view.web import WebViewer

__all__ = ["Viewer"]


class Viewer:
    """Watch environments in the browser.

    For example `Viewer(rpo_lightning.make("ant", num_envs=4), "random").show()`.

    Attributes: `live`, what runs; `url`, once it is shown.

    Args:
        env: environments, which the viewer steps from now on.
        policy: "zero" (also None) or "random"; an algorithm's module, anything with `act(obs, deterministic)`, or a function
            from observations (N, D) to actions (N, A).
        deterministic: act with the policy's mode instead of a sample.
        seed: of samples, random actions and pushes.
        port: of the page; the next free one is taken.
        host: address it answers at; "0.0.0.0" lets other machines in.
        camera: where from.

    Raises:
        ValueError: for an environment of which nothing can be drawn. TypeError: for what is no policy.
    """

    def __init__(
        self,
        env: Any,
        policy: Any = None,
        deterministic: bool = True,
        seed: int = 0,
        port: int = 8080,
        host: str = "127.0.0.1",
        camera: Camera | None = None,
    ) -> None:
        self.live = Live(env, acting(policy, env, deterministic, seed), seed)
        self.url = ""
        self._at, self._camera = (port, host), camera
        self._web: WebViewer | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def show(self, block: bool | None = None, height: int = 600) -> Any:
        """Serve the page.

        Args:
            block: until Ctrl-C; None: except in a notebook, where a frame with the page is returned to be displayed.
            height: of that frame [pixels].

        Raises:
            ImportError: in one line, without viser.
        """
        self._closed.clear()
        self._web = WebViewer(self.live, *self._at, self._camera)
        self.url = self._web.url
        notebook = _in_notebook()
        if block or (block is None and not notebook):
            print(f"{self.live.drawing.scene.name}: {self.url} (Ctrl-C ends it)", flush=True)
            try:
                self._web.run()
            except KeyboardInterrupt:
                pass
            finally:
                self.close()
            return None
        self._thread = threading.Thread(target=self._web.run, args=(lambda: not self._closed.is_set(),), daemon=True)
        self._thread.start()
        if not notebook:
            return None
        from IPython.display import IFrame

        return IFrame(self.url, width="100%", height=height)

    def close(self) -> None:
        """Stop; the environments stay as they are."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._web is not None:
            self._web.close()
            self._web = None


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
