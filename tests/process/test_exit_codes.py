"""How a command ends: one code and one line for everything that can happen."""

import pytest

from spacecast.core.errors import UserError
from spacecast.process.exit_codes import AT_ONCE, DONE, GOES_ON, INTERNAL_ERROR, USER_ERROR, Interrupted, run_to_end


def logged() -> Exception:
    error = ZeroDivisionError("by\nnothing")
    error.log_file = "traceback in run/train.log"
    return error


def explained() -> Interrupted:
    stop = Interrupted("SIGTERM")
    stop.explain("interrupted by SIGTERM; the same command goes on")
    return stop


UNFORESEEN, HINT = "internal error, ", "set SPACECAST_DEBUG=1 for the traceback"
ENDS = {
    "mistake": (UserError("two\nlines"), USER_ERROR, "two lines"),
    "keyboard": (KeyboardInterrupt(), AT_ONCE, "interrupted"),
    "signal": (explained(), GOES_ON, "interrupted by SIGTERM; the same command goes on"),
    "twice from the keyboard": (Interrupted("SIGINT", AT_ONCE), AT_ONCE, "interrupted by SIGINT"),
    "in a run": (logged(), INTERNAL_ERROR, f"{UNFORESEEN}ZeroDivisionError: by nothing (traceback in run/train.log)"),
    "elsewhere": (ValueError("no"), INTERNAL_ERROR, f"{UNFORESEEN}ValueError: no ({HINT})"),
}


@pytest.mark.parametrize("case", ENDS)
def test_an_error_is_one_line_and_a_code(case, capsys, monkeypatch):
    monkeypatch.delenv("SPACECAST_DEBUG", raising=False)
    error, code, line = ENDS[case]

    def work() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_to_end("spacecast-try", work)
    assert end.value.code == code
    assert capsys.readouterr() == ("", f"spacecast-try: error: {line}\n")


def test_what_is_done_says_nothing(capsys):
    with pytest.raises(SystemExit) as end:
        run_to_end("spacecast-try", lambda: "whatever it returns")
    assert end.value.code == DONE
    assert capsys.readouterr() == ("", "")


def test_a_code_of_its_own_goes_through(capsys):
    def work() -> None:
        raise SystemExit(INTERNAL_ERROR)

    with pytest.raises(SystemExit) as end:
        run_to_end("spacecast-try", work)
    assert end.value.code == INTERNAL_ERROR
    assert capsys.readouterr() == ("", "")


def test_the_traceback_is_there_on_request(capsys, monkeypatch):
    monkeypatch.setenv("SPACECAST_DEBUG", "1")
    with pytest.raises(SystemExit):
        run_to_end("spacecast-try", lambda: 1 / 0)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_shells_and_schedulers_know_these_numbers():
    assert (DONE, INTERNAL_ERROR, USER_ERROR, GOES_ON, AT_ONCE) == (0, 1, 2, 75, 130)
