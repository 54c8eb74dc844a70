"""The worker process as the coordinator sees it: start, send a trial, read its messages, notice its death."""

from __future__ import annotations

import json
import multiprocessing
import signal
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

    def wait_ready(self) -> dict[str, Any]:
        """Facts about the loaded model; TrialError when the worker could not load it."""
        kind, value = self._receive()
        if kind != "ready":
            raise TrialError(f"the worker could not start: {value['error']}")
        self.facts = value
        return self.facts

    def run(self, spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Sends one trial and yields its messages up to and including "done" or "failed"."""
        self._connection.send_bytes(json.dumps(spec).encode())
        while True:
            kind, value = self._receive()
            yield kind, value
            if kind in ("done", "failed"):
                return

    def _receive(self) -> tuple[str, Any]:
        try:
            kind, value = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._process.join(timeout=5)
            return "failed", {"error": f"the worker process ended: {self._how()}", "detail": ""}
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
