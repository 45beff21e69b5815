"""`voltloop serve` with a real Prefect server: form, schedule, artifacts, and a clean stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.flows.conftest import ROWS

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(240)]

SPEC = """\
name = "ignored"
[space]
table = "TABLE"
features = ["x"]
[[objectives]]
metric = "result"
goal = "maximize"
threshold = -50.0
[budget]
trials = 4
[[cyclers]]
name = "replay"
kind = "replay"
table = "TABLE"
target = "result"
noise_sd = 1.0
channels = 2
"""


class Server:
    """The REST API of a served lab."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/api"

    def post(self, path: str, **body):
        """One request; the answer as plain data. Like Prefect's own client it asks again while the database is busy (503)."""
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
        return self.until(lambda: self._answer(request))[0]

    @staticmethod
    def _answer(request: urllib.request.Request) -> list:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return [json.load(answer)]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return []

    def deployment(self, flow: str) -> str:
        """The id of a flow's deployment."""
        found = self.until(lambda: [d["id"] for d in self.post("/deployments/filter") if d["entrypoint"].endswith(flow)])
        return found[0]

    def start(self, form: str = "start_from_form", **parameters) -> str:
        """Fill in a form; the id of its flow run."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.post(f"/deployments/{self.deployment(form)}/create_flow_run", **body)["id"]

    def ended(self, run: str) -> dict:
        """The flow run, once it has ended."""
        query = {"flow_runs": {"id": {"any_": [run]}}}
        return self.until(
            lambda: next((r for r in self.post("/flow_runs/filter", **query) if r["state_type"] in ("COMPLETED", "FAILED")), None)
        )

    def artifacts(self) -> dict[str, dict]:
        """The latest artifacts by key."""
        return {a["key"]: a for a in self.post("/artifacts/latest/filter")}

    @staticmethod
    def until(ask, patience_s=150.0):
        """Ask until there is an answer; the server's own pace is all that is waited for."""
        deadline = time.monotonic() + patience_s
        while not (answer := ask()):
            assert time.monotonic() < deadline, "the served lab gave no answer in time"
            select_pause()
        return answer


def select_pause() -> None:
    """Yield to the server for a moment."""
    import select

    select.select([], [], [], 0.3)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One served lab for all: a Prefect server takes its time."""
    tmp_path = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows", "serve", "--lab", str(tmp_path / "lab"), "--port", str(port), "--interval", "5"]
    with (tmp_path / "serve.log").open("wb") as log:
        service = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path
        )
    server = Server(port)
    try:
        Server.until(lambda: service.poll() is not None or b"Prefect UI" in (tmp_path / "serve.log").read_bytes())
        assert service.poll() is None, (tmp_path / "serve.log").read_text()
        yield server, tmp_path
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(40)
    with pytest.raises(OSError, match=r"refused|Errno"):
        urllib.request.urlopen(f"{server.address}/health", timeout=2)  # noqa: S310


def spec_text(folder: Path) -> str:
    table = folder / "rows.csv"
    table.write_text("x,result\n" + "".join(f"{r['x']},{r['result']}\n" for r in ROWS))
    return SPEC.replace("TABLE", str(table))


def test_the_form_starts_a_campaign_ticks_advance_it_and_artifacts_appear(served):
    """A scientist needs nothing but the form: the schedule does the rest, and a faulty form fails with the message."""
    server, folder = served
    faulty = server.start(name="bad", spec_toml=spec_text(folder).replace("maximize", "maximise"))
    started = server.start(name="from-form", spec_toml=spec_text(folder))
    failed = server.ended(faulty)
    assert failed["state_type"] == "FAILED"
    assert "must be 'minimize' or 'maximize' (got 'maximise')" in failed["state"]["message"]
    assert server.ended(started)["state_type"] == "COMPLETED"
    done = Server.until(
        lambda: [a for k, a in server.artifacts().items() if k == "from-form-progress" and "completed" in a["description"]]
    )
    assert "4 ended with an outcome" in done[0]["data"]
    artifacts = server.artifacts()
    assert len(json.loads(artifacts["from-form-trials"]["data"])) == 4
    assert "data:image/svg+xml;base64," in artifacts["from-form-front"]["data"]
    names = {r["name"]: r["tags"] for r in server.post("/flow_runs/filter", limit=50)}
    assert "campaign:from-form" in names["from-form"]
    assert (folder / "lab" / "reports" / "from-form.html").is_file()


def test_a_person_approves_and_stops_from_the_forms(served):
    """The artifact shows what waits; the form decides it in the person's name; a faulty form fails with the message."""
    server, folder = served
    asking = spec_text(folder) + '[approval]\nmode = "every"\n'
    assert server.ended(server.start(name="asking", spec_toml=asking))["state_type"] == "COMPLETED"
    Server.until(lambda: "Waiting" in server.artifacts()["asking-progress"]["data"])
    assert "`voltloop approve asking 1 2`" in server.artifacts()["asking-progress"]["data"]
    form = {"form": "decide_from_form", "campaign": "asking"}
    faulty = server.start(**form, decision="approve", by="ada", trials=[1, 77])
    approved = server.start(**form, decision="approve", by="ada", trials=[1])
    rejected = server.start(**form, decision="reject", by="bob", trials=[2], reason="too hot")
    assert "no trial 77" in server.ended(faulty)["state"]["message"]
    assert {server.ended(run)["state_type"] for run in (approved, rejected)} == {"COMPLETED"}
    Server.until(lambda: _row(server, 1)["status"] in ("running", "completed"))
    assert _row(server, 1)["decided by"] == "ada"
    assert _row(server, 2)["why it stopped"] == "rejected by bob: too hot"
    server.start("stop_from_form", campaign="asking", by="ada", reason="seen enough")
    Server.until(lambda: "stopped" in server.artifacts()["asking-progress"]["description"])


def _row(server: Server, number: int) -> dict:
    rows = json.loads(server.artifacts()["asking-trials"]["data"])
    return next(row for row in rows if row["trial"] == number)
