"""The worker process as the coordinator sees it: start, send a trial, read its messages, notice its death."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

from harness.exceptions import TrialError
from harness.runner import worker


class WorkerProcess:
    """One spawned worker. Spawned, not forked: a fork would copy threads' locks and the coordinator's database."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=worker.main, args=(theirs, dict(setup)), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends when the worker dies
        self.facts: dict[str, Any] = {}
        self.doing = ""  # what the running trial says it does, for the message when it dies or hangs

    def wait_ready(self) -> dict[str, Any]:
        """Facts about the loaded model; TrialError when the worker could not load it."""
        kind, value = self._receive()
        if kind != "ready":
            raise TrialError(f"the worker could not start: {value['error']}")
        self.facts = value
        return self.facts

    def run(
        self, spec: Mapping[str, Any], *, limit_s: float | None = None, silence_s: float | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Sends one trial and yields its messages up to and including "done" or "failed".

        A trial that takes longer than `limit_s`, or sends nothing for `silence_s`, is ended together with the worker.
        """
        self.doing = ""
        ends = None if limit_s is None else time.monotonic() + limit_s
        self._connection.send_bytes(json.dumps(spec).encode())
        while True:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            kind, value = self._receive(min((wait for wait in (left, silence_s) if wait is not None), default=None))
            if kind == "late":
                why = f"gave no sign for {silence_s:g} s" if ends is None or time.monotonic() < ends else ""
                why = why or f"took longer than {limit_s:g} s"
                self.close(force=True)
                kind, value = "failed", {"error": f"the trial {why} and was ended{self._while()}", "detail": ""}
            if kind == "doing":
                self.doing = value
                continue
            yield kind, value
            if kind in ("done", "failed"):
                return

    def _while(self) -> str:
        return f", while {self.doing}" if self.doing else ""

    def _receive(self, wait_s: float | None = None) -> tuple[str, Any]:
        """The next message; ("late", None) when there is none within `wait_s` seconds."""
        try:
            if wait_s is not None and not self._connection.poll(wait_s):
                return "late", None
            kind, value = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._process.join(timeout=5)
            return "failed", {"error": f"the worker process ended: {self._how()}{self._while()}", "detail": ""}
        return kind, value

    def _how(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "its pipe broke"
        if code == -signal.SIGKILL:
            return "it was killed, most likely because memory ran out"
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def close(self, *, force: bool = False) -> None:
        """Asks the worker to end, and ends it when it does not (or at once, with `force`)."""
        if self.alive and not force:
            try:
                self._connection.send_bytes(b"null")
                self._process.join(timeout=10)
            except OSError:
                pass
        if self.alive:
            self._process.terminate()
            self._process.join(timeout=5)
        if self.alive:
            self._process.kill()
        self._connection.close()
