"""What kind of thing ended a trial early: a power cut is not the candidate's fault.

Revision 0002, of 2026-11.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of older trials it is not known."""
    op.add_column("trials", sa.Column("cause", sa.String(), nullable=True))
