"""Methods that race on the same problems: Voltloop itself, what else a lab can install, and what needs no model at all.

Each method is asked for points and told results, nothing more. Peers beyond Ax come with the extra `bench`.
"""

import os
import sys
from collections.abc import Callable, Sequence

# A race on shared cores is fair with one thread each; this stands before numpy and torch are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def installed(wanted: str | None, known: Sequence[str], maker: Callable[[str], object]) -> list[str]:
    """The methods to race: those named, or all whose library is there.

    Args:
        wanted: names with commas between them, as the command line gives them; None for all.
        known: every method.
        maker: imports a method's library and gives its constructor.

    Raises:
        SystemExit: if a method that was named is unknown or lacks its library.
    """
    found = []
    for name in wanted.split(",") if wanted else known:
        try:
            maker(name)
        except ImportError as error:
            sys.stderr.write(f"{name} is left out: {error.name} is not installed (pip install 'voltloop[bench]').\n")
            if wanted:
                raise SystemExit(2) from None
        except KeyError:
            sys.stderr.write(f"there is no method '{name}'; known: {', '.join(known)}.\n")
            raise SystemExit(2) from None
        else:
            found.append(name)
    return found
