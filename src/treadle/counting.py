"""Counts as a person reads them."""


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: `1 record`, `2,000 records`.

    Args:
        count: how many.
        noun: of one.
        plural: of several; None for the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
