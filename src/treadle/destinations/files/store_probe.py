"""Tries a place for objects out before it is loaded into: rights, and what loads rest on."""

import uuid
from contextlib import suppress

from treadle.destinations.files.errors import FAULTS
from treadle.destinations.files.object_names import PROBES
from treadle.destinations.files.object_store import ObjectExistsError, ObjectStore
from treadle.errors import OperatorError


class StoreProbe:
    """Tries a store out once, for all sessions of a destination."""

    def __init__(self) -> None:
        self._is_passed = False

    def require(self, store: ObjectStore) -> None:
        """Try a store out, unless that was done; see `probe_store`."""
        if not self._is_passed:
            probe_store(store)
        self._is_passed = True


def probe_store(store: ObjectStore) -> None:
    """Check that objects can be put, read, shown and removed, and that a condition counts.

    It leaves nothing.

    Raises:
        OperatorError: the store puts an object though one of its name is there, or does not show
            one that was just put.
        TreadleError, OSError: as calls of the store do.
    """
    key = f"{PROBES}/{uuid.uuid4().hex}"
    shown = f"{key}.shown"
    try:
        _try_out(store, key, shown)
    except FAULTS:
        with suppress(*FAULTS):
            store.remove([key, shown])
        raise
    store.remove([key, shown])


def _try_out(store: ObjectStore, key: str, shown: str) -> None:
    store.put_new(key, b"probe")
    with suppress(ObjectExistsError):
        store.put_new(key, b"again")
        raise OperatorError(
            "the store takes an object though one of its name is there: it does not know "
            "`If-None-Match: *`, without which a load could be doubled; use a store that does, "
            "such as Amazon S3"
        )
    if store.get(key) != b"probe" or key not in store.list_keys(PROBES):
        raise OperatorError(
            "the store does not show an object that was just put, without which a load could be "
            "doubled; use a store that does, such as Amazon S3"
        )
    store.show(key, shown)
