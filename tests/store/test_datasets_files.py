"""Files of public datasets, downloaded from a server on this machine."""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.domain.errors import FormatError, SpecError
from orchestrator.store.datasets import dataset_card
from orchestrator.store.datasets_files import DataFile, PublicSource, found

PUBLIC = b"3.600,6.000,974.000\n"
OURS = b"a,b,c\n3.600,6.000,974.000\n"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(tmp_path):
    """The address of a public repository, and its folder."""
    folder = tmp_path / "public"
    folder.mkdir()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_address[1]}", folder
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture
def file(server, tmp_path, monkeypatch):
    """A file that is not in the data folder, but can be made of a public one."""
    address, folder = server
    (folder / "table.csv").write_bytes(PUBLIC)
    empty = tmp_path / "data"
    empty.mkdir()
    monkeypatch.setenv("VOLTLOOP_DATA_DIR", str(empty))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = PublicSource(f"{address}/table.csv", sha256(PUBLIC), lambda public: b"a,b,c\n" + public)
    return DataFile("folder/table.csv", sha256(OURS), source)


def test_a_public_file_is_fetched_made_ours_and_kept(file, server, tmp_path):
    """The first opening downloads and converts, the second needs no connection; nothing comes into the data folder."""
    path = found(file, "somewhere", tmp_path / "cache")
    assert path.read_bytes() == OURS
    (server[1] / "table.csv").unlink()
    assert found(file, "somewhere", tmp_path / "cache") == path
    assert not list((tmp_path / "data").iterdir())


def test_a_damaged_copy_in_the_cache_is_fetched_again(file, tmp_path):
    """What was damaged in the cache is not used."""
    path = found(file, "somewhere", tmp_path / "cache")
    path.write_bytes(b"damaged")
    assert found(file, "somewhere", tmp_path / "cache").read_bytes() == OURS


def test_the_data_folder_goes_before_the_network(file, tmp_path):
    """A file that is there is used; the server is not asked."""
    here = tmp_path / "data" / "folder" / "table.csv"
    here.parent.mkdir()
    here.write_bytes(OURS)
    offline = replace(file, source=replace(file.source, url="http://127.0.0.1:9/gone"))
    assert found(offline, "somewhere", tmp_path / "cache") == here


def test_another_content_on_the_server_is_refused(file, server, tmp_path):
    """What a server gives in place of the known file is thrown away, with both hashes said."""
    (server[1] / "table.csv").write_bytes(b"<html>")
    with pytest.raises(FormatError, match=rf"(?s)not what is known to lie there.*{sha256(PUBLIC)}.*{sha256(b'<html>')}"):
        found(file, "somewhere", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.csv"))


def test_a_conversion_that_gives_another_file_is_refused(file, tmp_path):
    """What is made of a public file has a known hash too."""
    wrong = replace(file, source=replace(file.source, made=lambda public: public))
    with pytest.raises(FormatError, match=f"expected was {file.sha256}"):
        found(wrong, "somewhere", tmp_path / "cache")


def test_without_a_connection_the_address_and_the_variable_are_named(file, tmp_path):
    """No connection: what could not be had, from where, and what to do."""
    gone = replace(file, source=replace(file.source, url=file.source.url + ".gone"))
    with pytest.raises(SpecError, match=r"(?s)could not be downloaded from 'http.*gone'.*VOLTLOOP_DATA_DIR"):
        found(gone, "somewhere", tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(file, tmp_path):
    """Where a download cannot be kept, the folder is named; no traceback of the network's or the disk's."""
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(SpecError, match=rf"(?s)folder/table\.csv.*'{blocked}'.*VOLTLOOP_DATA_DIR"):
        found(file, "somewhere", blocked)
    halfway = tmp_path / "other"
    halfway.mkdir()
    (halfway / "folder").write_text("a file where a folder should be")
    with pytest.raises(SpecError, match=r"cannot be kept in .*other': .*Name another folder"):
        found(file, "somewhere", halfway)


@pytest.mark.parametrize("name", ["attia_policies", "cathode_voltage"])
def test_the_addresses_that_are_stated_lead_to_these_very_files(name, public_data):
    """The public file follows from ours, has the stated hash, and gives ours again, byte for byte."""
    file = dataset_card(name).files[0]
    ours = (public_data / file.name).read_bytes()
    if name == "attia_policies":
        rows = ours.decode().splitlines()[1:]
        public = "".join(",".join(f"{float(cell):.3f}" for cell in row.split(",")) + "\n" for row in rows).encode()
    else:
        public = ours.removeprefix(b"id")
    assert sha256(public) == file.source.sha256
    assert file.source.made(public) == ours
