"""What may be wrong with a row of a recording: flags that quality checks set.

Only a repair that was asked for takes them away: the repaired rows are checked again, and carry what is found then.
"""

from __future__ import annotations

from enum import IntFlag


class QualityFlag(IntFlag):
    """One bit a fault, so that a row can have several; the column `quality_flags` holds their sum."""

    NONE = 0
    TIME_BACKWARDS = 1  # the test time is before that of a row already seen
    DUPLICATE = 2  # every measured value is that of the row before
    AFTER_GAP = 4  # much more time passed since the row before than the sampling explains
    IMPOSSIBLE_VOLTAGE = 8
    IMPOSSIBLE_CURRENT = 16
    IMPOSSIBLE_CAPACITY = 32
    IMPOSSIBLE_TEMPERATURE = 64
    MISSING_VALUE = 128  # time, voltage or current is no number
    UNIT_SUSPECT = 256  # a column is a thousand times what the others imply: mA taken for A, mV for V
    CURRENT_SIGN = 512  # the current's sign contradicts the voltage or the vendor's capacities
    ENDLESS_CYCLE = 1024  # the cycle's number stands still over what are several cycles
