"""Counts as a person reads them."""


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: `1 record`, `2,000 records`.

    Args:
        count: how many.
        noun: of one.
        plural: of several; None for the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def count_subject(count: int, noun: str, one: str, several: str) -> str:
    """Return a count with its noun and the verb after it: `1 record waits`, `2 records wait`.

    Args:
        count: how many.
        noun: of one; several have an s.
        one: the verb after one.
        several: the verb after several.
    """
    return f"{count_noun(count, noun)} {one if count == 1 else several}"
