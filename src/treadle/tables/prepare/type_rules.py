"""Rules by which the values of a field get their logical type (loading.md 3.1).

A `TypeRules` answers by JSON class: what a whole number becomes, a number with a fraction, a
text, and how the insides of objects and arrays are typed. A JSON schema is compiled into one
(`schema_types.py`); `VALUE_RULES` and `TRANSIT_RULES` are the two that need no schema.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from treadle.tables.column_type import ColumnType
from treadle.tables.prepare.key_pattern import KeyPattern


@dataclass(frozen=True, slots=True)
class ObjectRules:
    """Type rules of the fields of an object, for objects of one alternative of a schema.

    Attributes:
        properties: by key as sent.
        patterns: of patternProperties, in order, each with a function that makes its rules.
        others: makes the rules of every other key; None for by value.
        required: keys an object of this alternative has.
    """

    properties: Mapping[str, "TypeRules"] = field(default_factory=dict)
    patterns: tuple[tuple[KeyPattern, "Callable[[], TypeRules]"], ...] = ()
    others: "Callable[[], TypeRules] | None" = None
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TypeRules:
    """Logical types by JSON class of the value.

    Attributes:
        integer: of a number without fraction and exponent.
        number: of any other number; BIGINT for whole ones under an integer schema.
        decimal: of a `Decimal` that stands for itself (Transit); else the same as `number`.
        texts: the types a text may have, in the order to try.
        listed_texts: texts an alternative before the others lists (enum, const); they are TEXT.
        objects: alternatives for objects; none means by value.
        elements: of array elements; None for by value.
        first_elements: of the first array elements, for `elements` that are a list.
        classes: JSON schema types the field may have; empty for any.
    """

    integer: ColumnType = ColumnType.BIGINT
    number: ColumnType = ColumnType.DOUBLE
    decimal: ColumnType = ColumnType.DOUBLE
    texts: tuple[ColumnType, ...] = (ColumnType.TEXT,)
    listed_texts: frozenset[str] = frozenset()
    objects: tuple[ObjectRules, ...] = ()
    elements: Callable[[], "TypeRules"] | None = None
    first_elements: tuple[Callable[[], "TypeRules"], ...] = ()
    classes: frozenset[str] = frozenset()


VALUE_RULES = TypeRules()
TRANSIT_RULES = TypeRules(decimal=ColumnType.DECIMAL)
