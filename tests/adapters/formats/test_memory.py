"""Memory does not grow with a file: a text file ten times as large is read, and written, in the same memory."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from adapters.formats import open_cycler_file, write_bdf_parquet, write_bdf_csv
write = {"parquet": write_bdf_parquet, "csv": write_bdf_csv}[sys.argv[2]]
rows = write(sys.argv[3], open_cycler_file(sys.argv[1]).batches())
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
HEADER = "Test Time / s,Voltage / mV,Current / mA,Cycle Count / 1\n"


def peak_memory_KiB(source, kind, target) -> tuple[int, int]:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, kind, target], check=True, capture_output=True, text=True
    ).stdout
    rows, peak = said.split()
    return int(rows), int(peak)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_is_bounded_whatever_the_file_is_long(kind, tmp_path):
    """From 6 to 60 MB of text the peak grows by less than 40 MB; at no time does it pass a quarter of a GiB beyond the imports."""
    block = "".join(f"{n},{3000 + n % 1000}.{n % 10},{n % 7}.25,{n // 100}\n" for n in range(20_000))
    peaks = []
    for repeats in (16, 160):
        path = tmp_path / f"{repeats}.csv"
        with path.open("w") as file:
            file.write(HEADER)
            for _ in range(repeats):
                file.write(block)
        rows, peak = peak_memory_KiB(path, kind, tmp_path / "out")
        assert rows == 20_000 * repeats
        peaks.append(peak)
        path.unlink()
    assert peaks[1] - peaks[0] < 40 * 1024, peaks
    assert peaks[1] < 512 * 1024
