"""Methods that race on the same problems: Voltloop itself, what else a lab can install, and what needs no model at all.

Each method is asked for points and told results, nothing more. Peers beyond Ax come with the extra `bench`.
"""

import os

# A race on shared cores is fair with one thread each; this stands before numpy and torch are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
