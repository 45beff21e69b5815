"""`voltloop serve`: Prefect server, deployments, schedules and the process that runs them, in one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flows.lab import Lab
from orchestrator.domain.errors import VoltloopError

START_TIMEOUT_S = 120.0


class ServiceError(VoltloopError):
    """The Prefect server did not start or died."""

    exit_code = 1


def server_settings(folder: Path, port: int) -> dict[str, str]:
    """The environment of server and runner: state in the lab's folder, loopback only, no telemetry, a small database."""
    return {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "DO_NOT_TRACK": "1",
        "VOLTLOOP_LAB": str(folder),
    }


def serve_lab(folder: Path, port: int, interval_s: float) -> None:
    """Serve a lab until interrupted; what dies with it is resumed by the next `serve`, `run` or `resume`.

    Raises:
        ServiceError: if the Prefect server does not come up.
        StoreError: if the lab cannot be opened.
    """
    Lab.open(folder).close()
    os.environ.update(server_settings(folder, port))
    signal.signal(signal.SIGTERM, _interrupt)
    with prefect_server(folder, port) as address:
        sys.stdout.write(f"Prefect UI: {address}  (lab: {folder}; Ctrl-C stops the service, running tests go on)\n")
        sys.stdout.flush()
        _serve_deployments(interval_s)


def _serve_deployments(interval_s: float) -> None:
    from prefect import serve

    from flows.deployments import deployments

    try:
        serve(*deployments(interval_s), pause_on_shutdown=False, print_starting_message=False)
    except KeyboardInterrupt:
        sys.stdout.write("stopped\n")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def prefect_server(folder: Path, port: int) -> Iterator[str]:
    """A Prefect server on loopback for the time of a `with`; one that answers there already is used as it is.

    Raises:
        ServiceError: if none comes up, with the end of its log.
    """
    address = f"http://127.0.0.1:{port}"
    if _healthy(address):
        yield address
        return
    log = folder / "prefect-server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as stream:
        server = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **server_settings(folder, port)},
            start_new_session=True,
        )
    try:
        _await_health(server, address, log)
        yield address
    finally:
        _end(server)


def _await_health(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _healthy(address):
        if server.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ServiceError(f"the Prefect server did not come up at {address}. Its log ({log}) ends:\n{tail}")
        time.sleep(0.25)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=2) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask, then insist; the server runs in a session of its own, so that Ctrl-C reaches us first."""
    for sign, wait_s in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(server.pid, sign)
            server.wait(wait_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
