"""`make ui`: the pages of a store, from its address that can be opened to the end of all its processes."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "ui.py"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def ui(script, monkeypatch) -> Iterator:
    """ui("mlflow.db", "--port", "5000"): the exit code, in this process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ui.py", *words])
        return script("ui.py").main()

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_store.read_bytes())
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(store: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The script; killed at the end if it is still there, with all that it has started."""
    words = [sys.executable, str(SCRIPT), str(store), "--port", str(port)]
    with subprocess.Popen(words, cwd=store.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as script:
        try:
            yield script
        finally:
            for each in [*children(script), script]:
                each.kill()


def children(script: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(script.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def ended(processes: list[psutil.Process]) -> bool:
    """Whether nothing of them is left but what their parent has not asked for yet."""
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


@pytest.mark.slow
def test_the_address_that_is_printed_can_be_opened_and_a_signal_ends_everything(store):
    with started(store, free_port()) as script:
        address = next(line.strip() for line in script.stdout if line.startswith("http"))
        assert address.endswith("/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART")
        with urlopen(address.partition("#")[0]) as reply:
            assert b"MLflow" in reply.read()
        server = children(script)
        assert server
        script.send_signal(signal.SIGINT)
        assert "Ctrl-C ends it" in script.stdout.read()
        told = script.stderr.read().splitlines()
        assert [line for line in told if not line.startswith("[MLflow] Security middleware enabled")] == []
        assert script.wait() == 0
        assert ended(server)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_while_the_server_is_still_starting(store, number):
    with started(store, free_port()) as script:
        while not (server := children(script)):
            assert script.poll() is None
        script.send_signal(number)
        assert script.stdout.read() == ""
        assert script.wait() == 0
        assert ended(server)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_very_moment_of_the_start_leaves_no_server(store, ui, monkeypatch, number):
    servers = []

    class Signalled(subprocess.Popen):
        def __init__(self, words, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(600)"], **options)
            servers.append(self)
            signal.raise_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Signalled)
    assert ui(str(store), "--port", str(free_port())) == 0
    (server,) = servers
    assert server.returncode == -signal.SIGTERM


def test_a_port_that_is_taken_is_one_line(store, ui, capsys):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert ui(str(store), "--port", str(port)) == 2
    told = f"ui: port {port}: Address already in use; type another one, as in: make ui PORT=5001"
    assert capsys.readouterr().err.splitlines() == [told]


def test_a_number_that_is_no_port_is_one_line(store, ui, capsys):
    assert ui(str(store), "--port", "70000") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ui: port 70000: ")


def test_without_a_store_none_is_made(tmp_path, ui, capsys):
    assert ui(str(tmp_path / "mlflow.db")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ui: there is no {tmp_path / 'mlflow.db'}: the first run")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_one_line(tmp_path, ui, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert ui(str(tmp_path / "notes.txt"), "--port", str(free_port())) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no MLflow store" in line
