import pytest

from benchmarks.peers import installed


def _maker(name: str) -> object:
    if name == "absent":
        raise ModuleNotFoundError("no", name="absentlib")
    return {"here": object()}[name]


def test_a_peer_that_is_not_installed_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    """All methods race but those whose library is missing; the message says how to install it."""
    assert installed(None, ("here", "absent"), _maker) == ["here"]
    assert "absentlib is not installed (pip install 'voltloop[bench]')" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["absent", "unheard-of"])
def test_a_peer_that_was_asked_for_must_be_there(wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A method named on the command line is never dropped in silence: bad input, exit 2."""
    with pytest.raises(SystemExit) as ended:
        installed(wanted, ("here", "absent"), _maker)
    assert ended.value.code == 2
    assert wanted in capsys.readouterr().err
