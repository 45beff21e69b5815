"""Memory does not grow with a file: a text file four times as long is read and written in the same memory."""

import subprocess
import sys

# What a process took by itself: `ru_maxrss` of a child begins with its parent's.
PROGRAM = """
import re, sys
from adapters.formats import open_cycler_file, write_bdf_parquet
rows = write_bdf_parquet(sys.argv[2], open_cycler_file(sys.argv[1]).batches(50_000))
print(rows, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
HEADER = "Test Time / s,Voltage / mV,Current / mA,Cycle Count / 1\n"
ROWS = 20_000
BLOCK = "".join(f"{n},{3000 + n % 1000}.{n % 10},{n % 7}.25,{n // 100}\n" for n in range(ROWS))


def peak_memory_MiB(path, blocks: int) -> float:
    """The most memory that a process took which turned so many blocks of text into Parquet."""
    with path.open("w") as file:
        file.write(HEADER)
        for _ in range(blocks):
            file.write(BLOCK)
    target = path.with_suffix(".parquet")
    said = subprocess.run([sys.executable, "-c", PROGRAM, path, target], check=True, capture_output=True, text=True).stdout
    rows, peak_KiB = said.split()
    assert int(rows) == blocks * ROWS
    path.unlink()
    target.unlink()
    return int(peak_KiB) / 1024


def test_memory_is_bounded_whatever_a_files_length(tmp_path):
    """From 33 to 134 MB of text the peak grows by less than half of the 230 MiB that the numbers alone would take."""
    short, long = (peak_memory_MiB(tmp_path / "long.csv", blocks) for blocks in (80, 320))
    assert long - short < 115, (short, long)
    assert long < 512
