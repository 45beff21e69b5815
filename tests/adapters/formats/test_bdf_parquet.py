"""Battery Data Format as Parquet, from any writer: labels and units, odd kinds of numbers, and what must not be taken for it."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adapters.formats import open_cycler_file
from orchestrator.domain.errors import FormatError


def stored(path, columns, metadata=None):
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def test_labels_units_and_kinds_of_other_writers(tmp_path, read):
    """Single precision, decimals and whole numbers are widened; labels with other units converted; text is left out."""
    path = stored(
        tmp_path / "x.parquet",
        {
            "Test Time / ms": pa.array([0, 1500], pa.int64()),
            "Voltage / V": pa.array([3.5, None], pa.float32()),
            "Current / mA": pa.array([Decimal("12.3"), Decimal("-12.3")], pa.decimal128(8, 1)),
            "Cycle Count / 1": pa.array([1.0, 2.0]),
            "Step Type": pa.array(["rest", "charge"]),
        },
        {"cell": "A7", "pandas": "{}"},
    )
    file = open_cycler_file(path)
    assert file.unmapped == ("Step Type",)
    assert file.metadata == {"cell": "A7"}
    columns = read(path)
    assert columns["test_time_second"].tolist() == [0.0, 1.5]
    assert columns["current_ampere"].tolist() == [0.0123, -0.0123]
    assert columns["cycle_count"].dtype == np.int64
    assert np.isnan(columns["voltage_volt"][1])


@pytest.mark.parametrize(
    ("columns", "metadata", "said"),
    [
        ({"Voltage / V": [1.0]}, None, "has no column for `test_time_second` and `current_ampere`"),
        ({"test_time_second": [], "voltage_volt": [], "current_ampere": []}, None, "has no column for|has columns and no rows"),
        ({"test_time_second": [1.0], "voltage_volt": [1], "current_ampere": [1]}, {"voltloop": "{}"}, "in a lab's archive"),
    ],
)
def test_what_is_not_a_recording_is_refused(columns, metadata, said, tmp_path):
    """Missing columns, no rows, and a lab's own archive with its packed numbers."""
    with pytest.raises(FormatError, match=said):
        open_cycler_file(stored(tmp_path / "x.parquet", columns, metadata))


def test_a_cycle_that_is_no_whole_number_is_named(tmp_path):
    """With its row, since whole numbers have no way to be missing."""
    base = {name: np.arange(3.0) for name in ("test_time_second", "voltage_volt", "current_ampere")}
    for cycles, said in (
        ([1.0, 2.5, 3.0], "row 2, column 'cycle_count' has 2.5"),
        ([1, 2, None], "row 3, column 'cycle_count' has nan"),
    ):
        file = open_cycler_file(stored(tmp_path / "x.parquet", base | {"cycle_count": cycles}))
        with pytest.raises(FormatError, match=said):
            list(file.batches())


def test_columns_can_be_stated(tmp_path, read):
    """As for text: names, units and signs."""
    path = stored(tmp_path / "x.parquet", {"t": [1.0], "U": [3412.7], "I": [5.0]})
    stated = {"t": "test_time_second [h]", "U": "voltage_volt [mV]", "I": "-current_ampere"}
    assert [column[0] for column in read(path, columns=stated).values()] == [3600.0, 3.4127, -5.0]


def test_decimals_and_single_precision_are_the_nearest_float(tmp_path, read):
    """3.4127 is 3.4127 to the last bit, from a decimal as from single precision; missing stays missing."""
    rng = np.random.default_rng(0)
    exact = [Decimal(int(n)).scaleb(-6) for n in rng.integers(0, 10**9, 2000)]
    single = np.arange(30_000, 32_000) / 10_000
    columns = {"test_time_second": pa.array(exact, pa.decimal128(18, 6)), "voltage_volt": pa.array(single.astype(np.float32))}
    path = stored(tmp_path / "x.parquet", columns | {"current_ampere": np.zeros(2000)})
    assert read(path)["test_time_second"].tolist() == [float(one) for one in exact]
    assert read(path)["voltage_volt"].tolist() == single.tolist()


def test_counts_beyond_int64_are_refused(tmp_path, read):
    """They would come out negative."""
    base = dict.fromkeys(("test_time_second", "voltage_volt", "current_ampere"), np.zeros(2))
    path = stored(tmp_path / "x.parquet", base | {"record_index": pa.array([1, 2**63], pa.uint64())})
    with pytest.raises(FormatError, match="row 2, column 'record_index' has 9223372036854775808"):
        read(path)
