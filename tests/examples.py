"""How many examples a property test takes."""

from hypothesis import settings


def examples(count: int) -> int:
    """That many before a release, four tenths with a change, and one in `make quick`."""
    return count * settings().max_examples // 100
