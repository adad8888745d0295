"""How the values of a field get their logical type (loading.md 3.1).

A `Typing` answers by JSON class: what a whole number becomes, a number with a fraction, a text, and
how the insides of objects and arrays are typed. A JSON schema is compiled into one (`schema.py`);
`BY_VALUE` and `TRANSIT` are the two that need no schema.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from treadle.tables.model import ColumnType


@dataclass(frozen=True, slots=True)
class Shape:
    """How the fields of an object are typed, for objects of one alternative of a schema.

    Attributes:
        properties: by key as sent.
        patterns: (regular expression, typing) of patternProperties, in order.
        others: of every other key; None for by value.
        required: keys an object of this alternative has.
    """

    properties: Mapping[str, "Typing"] = field(default_factory=dict)
    patterns: tuple[tuple[str, "Typing"], ...] = ()
    others: "Typing | None" = None
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Typing:
    """Logical types by JSON class of the value.

    Attributes:
        integer: of a number without fraction and exponent.
        number: of any other number; BIGINT for whole ones under an integer schema.
        decimal: of a `Decimal` that stands for itself (Transit); else the same as `number`.
        texts: the types a text may have, in the order to try.
        only: texts an alternative before the others lists (enum, const); they are TEXT.
        shapes: alternatives for objects; none means by value.
        items: of array elements; None for by value.
        tuple_items: of the first array elements, for `items` that are a list.
        classes: JSON schema types the field may have; empty for any.
    """

    integer: ColumnType = ColumnType.BIGINT
    number: ColumnType = ColumnType.DOUBLE
    decimal: ColumnType = ColumnType.DOUBLE
    texts: tuple[ColumnType, ...] = (ColumnType.TEXT,)
    only: frozenset[str] = frozenset()
    shapes: tuple[Shape, ...] = ()
    items: Callable[[], "Typing"] | None = None
    tuple_items: tuple[Callable[[], "Typing"], ...] = ()
    classes: frozenset[str] = frozenset()


BY_VALUE = Typing()
TRANSIT = Typing(decimal=ColumnType.DECIMAL)
