"""How many examples a property test takes."""

from hypothesis import settings


def examples(count: int) -> int:
    """That many, and a tenth of them in a quick run (`make quick`)."""
    return count * settings().max_examples // 100
