"""pyarrow as the type checker should see it.

Its stubs refuse correct calls (a Python scalar beside an array, a type held in a variable) and know half
of the functions. So to mypy the module is Any here and the names of arrays only document; tests
validate the arrays.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import pyarrow
import pyarrow.compute

pa: Final[Any] = pyarrow
pc: Final[Any] = pyarrow.compute

Array: TypeAlias = Any
ChunkedArray: TypeAlias = Any
BooleanArray: TypeAlias = Any
Date32Array: TypeAlias = Any
DoubleArray: TypeAlias = Any
Int64Array: TypeAlias = Any
StringArray: TypeAlias = Any
TimestampArray: TypeAlias = Any
Table: TypeAlias = Any
DataType: TypeAlias = Any
Buffer: TypeAlias = Any
"""The classes of pyarrow of these names."""
