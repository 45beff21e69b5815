"""Battery Data Format written: every bit comes back, whole files or none, and what other tools can read."""

import json

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.formats import open_cycler_file, write_bdf_csv, write_bdf_parquet
from orchestrator.domain.errors import FormatError, SpecError, StoreError

WRITERS = {"csv": write_bdf_csv, "parquet": write_bdf_parquet}


def columns_of(n: int = 10) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "test_time_second": np.arange(n) / 10,
        "voltage_volt": rng.random(n),
        "current_ampere": np.where(np.arange(n) % 3, rng.normal(size=n), np.nan),
        "cycle_count": np.arange(n) // 3,
    }


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(
    "name", ["arbin.csv", "novonix.csv", "landt.bdf.csv", "neware_nw4-120-1-6-53.ndax", "biologic_PEIS-0.mpr"]
)
def test_real_files_come_back_bit_by_bit(name, kind, labels, raw, read, tmp_path):
    """Written and read again, names or labels: the same columns, kinds, bits and missing values."""
    first = read(raw / name)
    path = tmp_path / f"again.{kind}"
    rows = WRITERS[kind](path, open_cycler_file(raw / name).batches(1000), {"cell": 7}, labels=labels)
    again = read(path)
    assert rows == len(first["voltage_volt"])
    assert list(again) == list(first)
    for column, values in first.items():
        assert again[column].dtype == values.dtype
        np.testing.assert_array_equal(again[column].view(np.int64), values.view(np.int64))
    assert open_cycler_file(path).metadata == {"cell": 7}


def test_battery_data_format_through_parquet_and_back(raw, read, tmp_path):
    """CSV -> Parquet -> CSV -> Parquet: no bit changes on the way, nor does the second CSV."""
    write_bdf_parquet(tmp_path / "a", open_cycler_file(raw / "landt.bdf.csv").batches())
    write_bdf_csv(tmp_path / "b", open_cycler_file(tmp_path / "a").batches())
    write_bdf_parquet(tmp_path / "c", open_cycler_file(tmp_path / "b").batches(777))
    write_bdf_csv(tmp_path / "d", open_cycler_file(tmp_path / "c").batches(5))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "d").read_bytes()
    first, last = read(raw / "landt.bdf.csv"), read(tmp_path / "c")
    assert all((first[name] == last[name]).all() for name in first)


@settings(max_examples=60)
@given(values=st.lists(st.floats(), min_size=1, max_size=30), counts=st.integers(-(2**53) + 1, 2**53 - 1))
def test_any_float_comes_back(values, counts, tmp_path_factory):
    """Subnormal, huge, negative zero, infinite or missing: text and Parquet keep them all."""
    folder = tmp_path_factory.mktemp("floats")
    numbers = np.array(values)
    batch = dict.fromkeys(("test_time_second", "voltage_volt", "current_ampere"), numbers)
    batch["cycle_count"] = np.full(len(numbers), counts)
    for kind, write in WRITERS.items():
        path = folder / kind
        write(path, [batch])
        (found,) = open_cycler_file(path).batches()
        np.testing.assert_array_equal(found["voltage_volt"], numbers)
        np.testing.assert_array_equal(np.signbit(found["voltage_volt"]), np.signbit(numbers) & ~np.isnan(numbers))
        np.testing.assert_array_equal(found["cycle_count"], batch["cycle_count"])


def test_what_is_written_any_tool_reads(tmp_path):
    """Parquet of plain doubles and integers, split by byte and compressed with zstd; CSV without quotes."""
    write_bdf_parquet(tmp_path / "x.parquet", [columns_of()], {"cell": "7"})
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert [str(kind) for kind in file.schema_arrow.types] == ["double", "double", "double", "int64"]
    column = file.metadata.row_group(0).column(1)
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert column.compression == "ZSTD"
    write_bdf_csv(tmp_path / "x.csv", [columns_of()])
    assert (
        (tmp_path / "x.csv")
        .read_text()
        .startswith("test_time_second,voltage_volt,current_ampere,cycle_count\n0,0.6369616873214543,,0\n")
    )
    assert pyarrow.csv.read_csv(tmp_path / "x.csv").num_rows == 10


def test_a_csvs_metadata_lies_beside_it(tmp_path):
    """In `<stem>.metadata.json`; without metadata there is none, and one that is broken is named."""
    path = tmp_path / "cell.bdf.csv"
    write_bdf_csv(path, [columns_of()])
    assert [p.name for p in tmp_path.iterdir()] == ["cell.bdf.csv"]
    write_bdf_csv(path, [columns_of()], {"cell": {"chemistry": "LFP"}})
    assert json.loads((tmp_path / "cell.bdf.metadata.json").read_text()) == {"cell": {"chemistry": "LFP"}}
    assert open_cycler_file(path).metadata == {"cell": {"chemistry": "LFP"}}
    (tmp_path / "cell.bdf.metadata.json").write_text("[1")
    with pytest.raises(FormatError, match=r"cell\.bdf\.metadata\.json.*not readable as JSON"):
        open_cycler_file(path)
    (tmp_path / "cell.bdf.metadata.json").write_text("[1]")
    with pytest.raises(FormatError, match="is not a JSON object"):
        open_cycler_file(path)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "nothing to write"),
        ([{}], "no columns"),
        ([{"volts": np.zeros(3)}], "'volts'|volts: is not a Battery Data Format name"),
        ([columns_of(), {"voltage_volt": np.zeros(3)}], "columns changed"),
        ([columns_of() | {"cycle_count": np.zeros(3, dtype=int)}], "differ in length"),
        ([columns_of() | {"cycle_count": np.zeros(10)}], "whole numbers"),
        ([columns_of() | {"voltage_volt": np.array(["a"] * 10)}], "numbers"),
        ([columns_of() | {"voltage_volt": np.zeros((10, 2))}], "one-dimensional"),
    ],
)
def test_what_is_no_recording_is_refused_and_leaves_nothing(batches, said, kind, tmp_path):
    """No file under any name, and one that was there before stays as it was."""
    path = tmp_path / "there"
    path.write_text("before")
    with pytest.raises(SpecError, match=said):
        WRITERS[kind](path, batches)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_source_that_breaks_off_leaves_nothing(kind, tmp_path, written):
    """A file damaged further down: what was written of it is taken away, temporary names too."""
    source = written("test_time_second,voltage_volt,current_ampere\n" + "1,2,3\n" * 300_000 + "oops\n", "source.csv")
    target = tmp_path / "out" / "there"
    target.parent.mkdir()
    with pytest.raises(FormatError, match=r"source\.csv.*line 300002"):
        WRITERS[kind](target, open_cycler_file(source).batches(1000), {"a": 1})
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_a_place_that_cannot_be_written_is_named(kind, tmp_path):
    """A folder that is not there, or a folder where the file should be."""
    with pytest.raises(StoreError, match=r"nowhere.*cannot be written"):
        WRITERS[kind](tmp_path / "nowhere" / "x", [columns_of()])
    with pytest.raises(StoreError, match="cannot be written"):
        WRITERS[kind](tmp_path, [columns_of()])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_leaves_no_metadata(tmp_path):
    """Nothing is written beside what could not be written."""
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        write_bdf_csv(tmp_path / "x.csv", [columns_of()], {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("kind", WRITERS)
def test_counts_beyond_int64_are_not_written(kind, tmp_path):
    """Column and row are named."""
    counts = np.array([1, 2**63], dtype=np.uint64)
    with pytest.raises(SpecError, match=r"record_index.*9223372036854775808 in row 2"):
        WRITERS[kind](tmp_path / "x", [{"record_index": counts}])
    assert list(tmp_path.iterdir()) == []
