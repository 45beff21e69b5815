"""Vendor files in, Battery Data Format in and out.

from adapters.formats import open_cycler_file, write_bdf_parquet

file = open_cycler_file("cell_7.ndax")
print(file.format, file.notes, file.unmapped)
write_bdf_parquet("cell_7.bdf.parquet", file.batches(), file.metadata)
"""

from adapters.formats.as_recording import open_recording
from adapters.formats.cycler_file import FORMATS, ColumnMapping, CyclerFile
from adapters.formats.opening import open_cycler_file
from adapters.formats.writing import write_bdf_csv, write_bdf_parquet

__all__ = ["FORMATS", "ColumnMapping", "CyclerFile", "open_cycler_file", "open_recording", "write_bdf_csv", "write_bdf_parquet"]
