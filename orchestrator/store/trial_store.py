"""The lab's memory: the one object through which everything that happened is written and read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.store.amendments import AmendmentLedger
from orchestrator.store.campaigns import CampaignLedger
from orchestrator.store.channels import ChannelLedger
from orchestrator.store.claims import ClaimLedger
from orchestrator.store.dispatch import DispatchLedger
from orchestrator.store.engine import Database, system_now
from orchestrator.store.events import EventLedger
from orchestrator.store.lock import LockLedger
from orchestrator.store.schema import bring_up_to_date
from orchestrator.store.trials import TrialLedger


class TrialStore(
    CampaignLedger, AmendmentLedger, TrialLedger, DispatchLedger, ChannelLedger, ClaimLedger, EventLedger, LockLedger
):
    """Everything the lab remembers, in SQLite or PostgreSQL; plain values in, plain values out.

    Every method is one transaction and may raise `StoreError` when the database refuses (locked, full, unreachable);
    then nothing of it was stored. Threads may share a store.

    Example:
        >>> store = TrialStore.open("lab/voltloop.db")
        >>> store.register_campaign(spec, lab_time_h=0.0)
        >>> store.add_trials(spec.name, [NewTrial(candidate, "sobol")], lab_time_h=0.0)
    """

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        *,
        busy_timeout_s: float = 10.0,
        now: Callable[[], datetime] = system_now,
        create: bool = True,
    ) -> TrialStore:
        """Open a lab's database; a fresh or older one is brought to this program's schema.

        Args:
            url_or_path: an SQLite file, or a URL such as `postgresql://user:password@host/name`.
            busy_timeout_s: how long to wait for another program's write.
            now: gives the system's time, aware, for time stamps and leases.
            create: False refuses where there is no lab yet.

        Raises:
            StoreError: newer schema, another program's database, locked, read-only, damaged, unreachable, or (with
                `create=False`) none there. Nothing was changed.
        """
        database = Database(url_or_path, busy_timeout_s, now)
        try:
            bring_up_to_date(database, create)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
