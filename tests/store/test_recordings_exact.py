"""Closed recordings keep every bit in few bytes."""

import errno
import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from orchestrator.domain.errors import StoreError
from orchestrator.store import RecordingArchive, recording_file
from orchestrator.store.column_encoding import Survey, into, to_arrow
from orchestrator.store.recording_place import Hashed

KINDS = ("float64", "float32", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
DATA = Path(os.environ.get("VOLTLOOP_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
GITT = {
    "test_time_second": "Test_Time",
    "step_index": "Step_Index",
    "current_ampere": "Current",
    "voltage_volt": "Voltage",
    "charging_capacity_ah": "Charge_Capacity",
    "discharging_capacity_ah": "Discharge_Capacity",
    "surface_temperature_celsius": "Temperature",
}


@pytest.fixture
def archive(tmp_path: Path) -> RecordingArchive:
    return RecordingArchive(tmp_path / "lab" / "recordings")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> int:
    """Row groups of 100 rows, so that a few thousand go through the spool."""
    monkeypatch.setattr(recording_file, "ROW_GROUP", 100)
    return 100


def assert_same(found: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    assert list(found) == list(given)
    for name, column in given.items():
        assert found[name].dtype == column.dtype, name
        assert found[name].tobytes() == np.ascontiguousarray(column).tobytes(), name


def decimals_of(archive: RecordingArchive, column: np.ndarray) -> int | None:
    file = archive.write("k", {"voltage_volt": column}, {})
    assert_same(archive.read(file), {"voltage_volt": column})
    return archive.metadata(file)["columns"]["voltage_volt"].get("decimals")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_column_comes_back_bit_by_bit(data: st.DataObject) -> None:
    """Arrays of every numeric type and any bits, decimals among them, are stored and read exactly, in pieces as well."""
    kind = np.dtype(data.draw(st.sampled_from(KINDS)))
    if kind.kind == "f" and data.draw(st.booleans()):
        k = data.draw(st.integers(0, 12))
        elements = st.one_of(
            st.integers(-(10**14), 10**14).map(lambda i: float(f"{i}e-{k}")),
            st.sampled_from([-0.0, np.nan, np.inf, -np.inf, 5e-324]),
        )
        values = np.array(data.draw(st.lists(elements, max_size=40)), dtype=np.float64)
        with np.errstate(over="ignore"):
            values = values.astype(kind)
    else:
        bits = data.draw(arrays.arrays(np.dtype(f"u{kind.itemsize}"), st.integers(0, 40)))
        values = (bits & 1).astype(bool) if kind.kind == "b" else bits.view(kind)
    survey = Survey("x", kind)
    cut = data.draw(st.integers(0, len(values)))
    for part in (values[:cut], values[cut:]):
        survey.take(part)
    other = Survey("x", kind)
    other.take(values[cut:])
    other.take(values[:cut])
    assert survey.coding() == other.coding()
    found = np.empty(len(values), dtype=kind)
    into(found, "x", to_arrow("x", values, survey.coding()), survey.coding())
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_size_come_back(archive: RecordingArchive, kind: str) -> None:
    """Types and extreme values of all sizes survive the file."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        values = np.array([0.0, -0.0, info.max, info.min, info.tiny, np.nan, np.inf, -np.inf, 1.5], dtype=dtype)
    elif dtype.kind == "b":
        values = np.array([True, False, True])
    else:
        values = np.array([np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max], dtype=dtype)
    columns = {"voltage_volt": values, "step_index": np.arange(len(values))}
    assert_same(archive.read(archive.write("k", columns, {})), columns)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1.0, -2.0, 3e9], 0),
        ([3.3001, 3.3, -0.1], 4),
        ([3.3001, np.nan, np.inf, -0.0], 4),
        ([np.nan, np.nan], 0),
        ([0.1 + 0.2], None),
        ([np.pi, 1.0], None),
        ([1e300, 0.1], None),
        ([1.7e9 + 0.123456], 6),
        ([0.000954133123, 1e-12], 12),
        ([], 0),
    ],
)
def test_the_fewest_digits_that_are_exact_are_found(archive: RecordingArchive, values: list[float], decimals: int | None) -> None:
    """A column has as many decimals as its longest value; one that is no decimal makes all of them floats."""
    assert decimals_of(archive, np.array(values, dtype=np.float64)) == decimals


def test_odd_values_do_not_spoil_a_column(archive: RecordingArchive) -> None:
    """Signed zeros, infinities and NaN of other bits stand beside the decimals, exactly."""
    values = np.round(np.linspace(-1, 1, 1001), 4)
    values[10:16] = [-0.0, np.inf, -np.inf, np.nan, -np.nan, np.array(0x7FF8000000000123).view(np.float64)]
    assert decimals_of(archive, values) == 3


def test_other_tools_read_the_true_numbers(archive: RecordingArchive) -> None:
    """Polars and pyarrow see decimals with their values, not bare integers."""
    file = archive.write("k", {"voltage_volt": np.array([3.3001, np.nan, -0.5])}, {})
    assert [None if v is None else float(v) for v in pl.read_parquet(archive.path(file))["voltage_volt"]] == [3.3001, None, -0.5]
    schema = pq.ParquetFile(archive.path(file)).schema
    assert (schema.column(0).physical_type, schema.column(0).logical_type.type) == ("INT32", "DECIMAL")


def test_batches_make_the_same_file(archive: RecordingArchive, small_groups: int) -> None:
    """However rows come in pieces, one file holds them, with the scale that all of them need."""
    rng = np.random.default_rng(3)
    columns = {
        "voltage_volt": np.round(rng.normal(3, 0.1, 1234), 4),
        "current_ampere": np.concatenate([np.ones(1100), np.round(rng.normal(size=134), 7)]),
        "charging_capacity_ah": np.concatenate([np.zeros(900), rng.normal(size=334)]),
        "cycle_count": np.repeat(np.arange(617), 2),
    }
    whole = archive.write("k", columns, {"a": 1})
    for size in (1, 7, 100, 1000, 5000):
        pieces = ({n: c[i : i + size] for n, c in columns.items()} for i in range(0, 1234, size))
        assert archive.write_batches("k", pieces, {"a": 1}) == whole
    said = archive.metadata(whole)["columns"]
    assert [said[name].get("decimals") for name in columns] == [4, 7, None, None]
    assert_same(archive.read(whole), columns)
    assert [len(batch["voltage_volt"]) for batch in archive.read_batches(whole)] == [100] * 12 + [34]
    assert len(list(archive.folder.iterdir())) == 1


def test_columns_and_cycles_are_read_alone(archive: RecordingArchive, small_groups: int) -> None:
    """Some columns, or the rows of some cycles, come in the order asked for."""
    n = 1000
    columns = {"test_time_second": np.arange(n) / 10, "cycle_count": np.arange(n) // 50, "voltage_volt": np.arange(n) / 1000 + 3}
    file = archive.write("k", columns, {})
    assert_same(
        archive.read(file, ["voltage_volt", "test_time_second"]), {n: columns[n] for n in ("voltage_volt", "test_time_second")}
    )
    kept = (columns["cycle_count"] >= 3) & (columns["cycle_count"] <= 7)
    assert_same(archive.read(file, ["voltage_volt"], cycles=(3, 7)), {"voltage_volt": columns["voltage_volt"][kept]})
    assert len(archive.read(file, cycles=(900, 901))["voltage_volt"]) == 0
    with pytest.raises(StoreError, match=r"no column 'nonsense'\. It has: test_time_second"):
        archive.read(file, ["nonsense"])


def test_a_declared_resolution_is_the_only_loss(archive: RecordingArchive) -> None:
    """Rounding happens where it was asked for, to the step that was asked for, and the file says so."""
    rng = np.random.default_rng(1)
    columns = {"voltage_volt": rng.normal(size=999), "current_ampere": rng.normal(size=999)}
    columns["voltage_volt"][5] = np.nan
    file = archive.write("k", columns, {}, resolution={"voltage_volt": 0.0005})
    found, said = archive.read(file), archive.metadata(file)["columns"]
    assert found["current_ampere"].tobytes() == columns["current_ampere"].tobytes()
    assert np.nanmax(np.abs(found["voltage_volt"] - columns["voltage_volt"])) <= 0.00025 * (1 + 1e-9)
    assert np.isnan(found["voltage_volt"][5])
    assert said["voltage_volt"] == {"dtype": "float64", "decimals": 4, "resolution": 0.0005}
    assert "resolution" not in said["current_ampere"]
    assert archive.write_batches("k", iter([columns]), {}, {"voltage_volt": 0.0005}) == file


@pytest.mark.parametrize(("step", "said"), [(0.0, "positive"), (-1e-3, "positive"), (np.nan, "positive"), (1 / 3, "few digits")])
def test_an_odd_resolution_is_refused(archive: RecordingArchive, step: float, said: str) -> None:
    """A step that is no positive decimal is an error, and so is one for a column that is not there."""
    with pytest.raises(StoreError, match=f"'voltage_volt'.*{said}"):
        archive.write("k", {"voltage_volt": np.ones(3)}, {}, resolution={"voltage_volt": step})
    with pytest.raises(StoreError, match="no column 'x'"):
        archive.write("k", {"voltage_volt": np.ones(3)}, {}, resolution={"x": 0.1})


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"voltage_volt": np.ones(2)}, "'current_ampere' was there before and is missing now"),
        ({"voltage_volt": np.ones(2), "current_ampere": np.ones(2), "x": np.ones(2)}, "'x' was not there before"),
        ({"voltage_volt": np.ones(2), "current_ampere": np.ones(2, dtype=int)}, "held float64 before and holds int64 now"),
        ({"current_ampere": np.ones(2), "voltage_volt": np.ones(2)}, "another order"),
        ({"voltage_volt": np.ones(2), "current_ampere": np.ones(3)}, "differ in length"),
    ],
)
def test_batches_that_do_not_fit_are_refused(archive: RecordingArchive, second: dict[str, np.ndarray], said: str) -> None:
    """A batch with other columns is named, and nothing is left of what was begun."""
    first = {"voltage_volt": np.ones(3), "current_ampere": np.ones(3)}
    with pytest.raises(StoreError, match=f"k cannot be stored: .*{said}"):
        archive.write_batches("k", iter([first, second]), {})
    assert list(archive.folder.iterdir()) == []


@pytest.mark.parametrize(
    "column", [np.array(["a", "b"]), np.array([1j, 2j]), np.array([object(), None]), np.zeros(2, "longdouble")]
)
def test_what_is_no_number_is_refused(archive: RecordingArchive, column: np.ndarray) -> None:
    """Text and objects are no measurements."""
    with pytest.raises(StoreError, match="'voltage_volt' cannot be stored: it holds"):
        archive.write("k", {"voltage_volt": column}, {})


def test_no_rows_and_no_columns(archive: RecordingArchive, small_groups: int) -> None:
    """Empty batches, and none at all, are recordings without rows."""
    nothing = {"voltage_volt": np.zeros(0), "cycle_count": np.zeros(0, dtype=np.int64)}
    file = archive.write_batches("k", iter([nothing, nothing]), {})
    assert file == archive.write("k", nothing, {})
    assert_same(archive.read(file), nothing)
    assert_same(archive.read(file, cycles=(1, 2)), nothing)
    assert list(archive.read_batches(file)) == [] or all(len(b["cycle_count"]) == 0 for b in archive.read_batches(file))
    assert archive.read(archive.write_batches("k", iter([]), {})) == {}


def test_foreign_byte_order_is_taken(archive: RecordingArchive) -> None:
    """Columns of big-endian files are stored by value."""
    file = archive.write("k", {"voltage_volt": np.array([3.25, -1.5], dtype=">f8")}, {})
    assert_same(archive.read(file), {"voltage_volt": np.array([3.25, -1.5])})


def test_a_real_gitt_test_takes_at_most_eight_bytes_a_row(archive: RecordingArchive) -> None:
    """The A123 GITT recording of the shared data, seven columns, every bit kept."""
    with gzip.open(DATA / "a123_gitt.csv.gz") as stream:
        table = pl.read_csv(stream.read(), infer_schema_length=None)
    columns = {name: table[own].to_numpy() for name, own in GITT.items()}
    file = archive.write("gitt", columns, {})
    assert_same(archive.read(file), columns)
    assert file.rows == 12139
    assert archive.path(file).stat().st_size / file.rows <= 8.0


@pytest.mark.parametrize("room", [0, 10, 5000])
def test_a_disk_that_fills_up_in_mid_write_leaves_nothing(
    archive: RecordingArchive, small_groups: int, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Wherever the disk is full, in the first bytes or after many row groups, it is told and nothing is left."""
    original, written = Hashed.write, [0]

    def full(self: Hashed, data: bytes) -> int:
        written[0] += len(data)
        if written[0] > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, data)

    monkeypatch.setattr(Hashed, "write", full)
    columns = {"voltage_volt": np.random.default_rng(1).normal(size=3000)}
    with pytest.raises(StoreError, match=r"k\.parquet.*No space left on device.*Nothing was half-written"):
        archive.write_batches("k", iter([columns]), {})
    assert list(archive.folder.iterdir()) == []
