"""Node processes of a run: started together, monitored, and reliably ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from dapdee_ros.errors import CommandError
from dapdee_ros.owner import OWNER_VARIABLE
from dapdee_ros.process_table import OF_EVERY_NODE, REQUIRED, ProcessStart
from dapdee_ros.supervision import Decision, Restarts, Verdict, end_of_log


class Processes:
    """Starts nodes as processes, each with its own log file.

    Attributes:
        folder: contains the log files, ``<name>.log``.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        remaps: Mapping[str, str] | None = None,
        echo: IO[str] | None = None,
        enter: Callable[[str, Sequence[str]], Sequence[str]] | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            folder: where the log files go.
            environment: of every process.
            remaps: names to remap in every process (``__ns``).
            echo: where to repeat what every process prints.
            enter: turns a process's name and command into the command that runs it in the right
                environment; None: unchanged.
        """
        self.folder = folder
        # Several programs write to one terminal: line by line, and at once.
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._remaps = dict(remaps or {})
        self._echo = echo
        self._enter = enter
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spawns: dict[str, Callable[[], None]] = {}
        self._restarts: dict[str, Restarts] = {}
        self._due_s: dict[str, float] = {}
        self._readers: list[threading.Thread] = []

    def start(
        self,
        executable: str,
        parameters: Mapping[str, Any],
        remaps: Mapping[str, str] | None = None,
        *,
        names: Sequence[str] = (),
        echo: IO[str] | None = None,
        called: str = "",
    ) -> None:
        """Start an executable of the package, the same one that ``ros2 run`` starts.

        Args:
            executable: the executable's name.
            parameters: values by name.
            remaps: topics to rename.
            names: node names the parameters are for; all nodes of the process if empty, in a
                namespace, and for those that every node takes.
            echo: where to repeat what the process prints.
            called: the process's name here; empty: the executable's.
        """
        renamed = {**self._remaps, **(remaps or {})}
        command = [str(find_executable(executable)), "--ros-args"]
        for key, value in parameters.items():
            # ROS takes such a name for one without a namespace: there it would reach no node.
            everywhere = key in OF_EVERY_NODE or "__ns" in renamed
            takers = () if everywhere else names
            for prefix in [f"{name}:" for name in takers] or [""]:
                command += ["-p", f"{prefix}{key}:={_as_yaml(value)}"]
        echo = echo or self._echo
        for source, target in renamed.items():
            command += ["-r", f"{source}:={target}"]
        if self._enter is not None:
            command = list(self._enter(executable, command))
        process = called or executable
        (self.folder / f"{process}.log").write_bytes(b"")
        self._restarts[process] = Restarts()
        self._spawns[process] = partial(self._spawn, process, command, echo)
        self._spawns[process]()

    def _spawn(self, name: str, command: Sequence[str], echo: IO[str] | None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**self._environment, OWNER_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if echo else log,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the terminal's process group; the shutdown order is ours.
                start_new_session=True,
            )
        self._running[name] = process
        self._restarts[name].on_start(time.monotonic())
        if echo:
            reader = threading.Thread(target=self._repeat, args=(name, process, echo))
            reader.start()
            self._readers.append(reader)

    def _repeat(self, name: str, process: subprocess.Popen[bytes], echo: IO[str]) -> None:
        assert process.stdout is not None
        with (self.folder / f"{name}.log").open("ab") as log:
            for line in process.stdout:
                # Keep reading whatever happens to the file: a process blocks if its output is not
                # read.
                with contextlib.suppress(OSError):
                    log.write(line)
                    log.flush()
                echo.write(line.decode(errors="replace"))
                echo.flush()

    def has_said(self, name: str, words: str) -> bool:
        """Whether the process's log contains these words."""
        return words in self._log_text(name)

    def _log_text(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def check(self) -> None:
        """Raise CommandError if a process has ended by itself, with the end of its log."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise self._failure(name, f"ended with status {status}")

    def supervise(self) -> None:
        """Restart what has died, by the rule of ``supervision``; call it often.

        What ended normally is left alone.

        Raises:
            CommandError: if a process has failed for good, with the end of its log.
        """
        now_s = time.monotonic()
        for name, process in list(self._running.items()):
            status = process.poll()
            if status is None:
                continue
            decision = self._restarts[name].on_end(now_s, status)
            if decision.verdict is Verdict.FAILED and name in REQUIRED:
                raise self._failure(name, decision.reason)
            self._say(name, decision)
            del self._running[name]
            if decision.verdict is Verdict.RESTART:
                self._due_s[name] = now_s + decision.delay_s
        for name, due_s in list(self._due_s.items()):
            if now_s >= due_s:
                del self._due_s[name]
                self._spawns[name]()

    @property
    def idle(self) -> bool:
        """Whether everything that was started has ended, and nothing is to be restarted."""
        return not self._running and not self._due_s

    def _say(self, name: str, decision: Decision) -> None:
        print(f"dapdee: {name} {decision.reason}", file=sys.stderr, flush=True)

    def _failure(self, name: str, what: str) -> CommandError:
        tail = end_of_log(self._log_text(name).splitlines())
        return CommandError(f"{name} {what}. Its log ends:\n{tail}")

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of those started and not stopped."""
        return {name: process.pid for name, process in self._running.items()}

    def kill(self, name: str) -> None:
        """Kill a process at once (SIGKILL), to see what happens to the others."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, names: Iterable[str] | None = None, *, within_s: float) -> None:
        """End processes cleanly: interrupt, then kill what still runs after ``within_s``."""
        wanted = list(names or {**self._running, **self._due_s})
        for name in wanted:
            self._due_s.pop(name, None)
        chosen = [m for m in wanted if m in self._running]
        for name in chosen:
            process = self._running[name]
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        end_s = time.monotonic() + within_s
        for name in chosen:
            process = self._running.pop(name)
            try:
                process.wait(max(0.0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                print(f"{name} did not end when asked and was killed", file=sys.stderr)
        if not self._running:
            for reader in self._readers:
                reader.join(2.0)


def start_all(
    processes: Processes,
    starts: Sequence[ProcessStart],
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Start what the process table says.

    Args:
        processes: started here.
        starts: what to start, with parameters.
        extra: additional parameters by the process's name.
    """
    for start in starts:
        row = start.row
        renamed = {"__node": start.node_name} if start.node_name else {}
        processes.start(
            row.executable,
            {**start.parameters, **(extra or {}).get(start.name, {})},
            {**start.remaps, **renamed},
            names=row.takers,
            called=start.name,
        )


def find_executable(name: str) -> Path:
    """The path of an installed executable of this package.

    Raises:
        CommandError: if the package was not built, or its environment is not sourced.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / "dapdee_ros" / name
        if prefix and path.is_file():
            return path
    raise CommandError(
        f"the executable {name} of dapdee_ros is not installed: run `make setup`, then `source "
        "tools/env.sh` (or build and source your ROS workspace)"
    )


def _as_yaml(value: Any) -> str:
    """A parameter's value in the form of ``-p name:=value`` (YAML)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
