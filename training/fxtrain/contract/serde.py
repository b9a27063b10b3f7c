"""Bytes in, values out, side by side: blocks of samples and JSON dataclasses. No pickle.

A *block* is a group of samples packed together: one ``.npy`` a field plus one JSON line a sample.
One member a sample would cost 2.3 times the bytes and read 90 times slower (docs/shard-format.md).
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from fxtrain.contract.errors import ContractError, DamagedError, shorten, unknown_name
from fxtrain.contract.record import check_record

RECORDS_MEMBER = "records.jsonl"
Record = dict[str, Any]
T = TypeVar("T")


def pack_members(arrays: Mapping[str, np.ndarray], records: Sequence[Record]) -> dict[str, bytes]:
    """Member name -> bytes; the first axis of every array counts the samples."""
    for name, array in arrays.items():
        if len(array) != len(records):
            raise ContractError(
                f"field {name!r} holds {len(array)} samples but there are {len(records)} records"
            )
    members = {f"{name}.npy": pack_npy(array) for name, array in arrays.items()}
    members[RECORDS_MEMBER] = pack_records(records)
    return members


def unpack_members(
    members: Mapping[str, bytes], where: str
) -> tuple[dict[str, np.ndarray], list[Record]]:
    """The inverse of :func:`pack_members`; ``where`` names the shard in errors."""
    arrays: dict[str, np.ndarray] = {}
    records: list[Record] | None = None
    for member, data in members.items():
        if member == RECORDS_MEMBER:
            records = unpack_records(data, f"{where}: {member}")
        elif member.endswith(".npy"):
            arrays[member.removesuffix(".npy")] = unpack_npy(data, f"{where}: {member}")
    if records is None:
        raise DamagedError(f"{where}: no member {RECORDS_MEMBER!r}")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(records):
            found = len(array) if array.ndim else "no"
            raise DamagedError(f"{where}: field {name!r} holds {found} samples, not {len(records)}")
    return arrays, records


def pack_npy(array: np.ndarray) -> bytes:
    array = np.ascontiguousarray(array)
    return b"".join((_npy_header(array.shape, array.dtype), array.data))


def empty_npy(shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[np.ndarray, bytearray]:
    """An array to fill, and what ``pack_npy`` would make of it then: no second copy in memory."""
    header = _npy_header(shape, np.dtype(dtype))
    data = bytearray(len(header) + math.prod(shape) * np.dtype(dtype).itemsize)
    data[: len(header)] = header
    return np.frombuffer(data, dtype, offset=len(header)).reshape(shape), data


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype} cannot be packed when allow_pickle=False")
    header = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|][biuf][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}, ?)*(?:\d{1,15})?)\), \} *\n"
)
"""Of a plain array of numbers, as numpy writes it. numpy's own reader evaluates whatever stands
there as Python, and allocates what it promises before it looks whether that many bytes follow."""


def unpack_npy(data: bytes | memoryview, where: str, *, copy: bool = True) -> np.ndarray:
    """The inverse of :func:`pack_npy`. The header must say exactly the bytes that follow it.

    Without ``copy`` the array is a read-only view of ``data``.
    """
    start = len(NPY_MAGIC) + 2
    length = int.from_bytes(data[len(NPY_MAGIC) : start], "little")
    header = NPY_HEADER.fullmatch(data[start : start + length])
    if data[: len(NPY_MAGIC)] != NPY_MAGIC or header is None:
        raise DamagedError(f"{where}: not a readable npy array (version 1.0, of plain numbers)")
    descr, fortran, sizes = (part.decode("ascii") for part in header.groups())
    try:
        dtype = np.dtype(descr)
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
        n_bytes = math.prod(shape) * dtype.itemsize
        body = memoryview(data)[start + length :]
        if n_bytes != len(body):
            raise ValueError(f"{dtype} {shape} takes {n_bytes} bytes, {len(body)} are there")
        order: typing.Literal["F", "C"] = "F" if fortran == "True" else "C"
        array = np.frombuffer(body, dtype).reshape(shape, order=order)
        return array.copy(order=order) if copy else array
    except (TypeError, ValueError) as error:  # no such dtype, too many axes
        raise DamagedError(f"{where}: not a readable npy array ({error})") from None


def pack_records(records: Sequence[Record]) -> bytes:
    """One canonical JSON object a line."""
    return b"".join(canonical_json(record) + b"\n" for record in records)


def unpack_records(data: bytes, where: str) -> list[Record]:
    """The inverse of :func:`pack_records`: objects whose known keys hold what they should."""
    records = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line:
            inside = f"{where}: line {number}"
            record = read_json(line, inside, _RECORDS)
            if not isinstance(record, dict):
                raise DamagedError(f"{inside}: holds something other than a JSON object")
            check_record(record, inside)
            records.append(record)
    return records


MAX_DEPTH = 64
"""Lists in lists and objects in objects: more is no data set, and would exhaust Python's stack."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {shorten(twice)} stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, expected numbers")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999, which nothing could write down again
        raise ValueError(f"no float holds {shorten(text)[1:-1]}")
    return value


_DOCUMENTS = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
_RECORDS = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
"""Twice as fast; of a key that stands twice the last counts."""


def read_json(data: bytes, where: str, decoder: json.JSONDecoder = _DOCUMENTS) -> Any:
    """A JSON value that came from elsewhere.

    Raises DamagedError for what is not UTF-8 or not JSON, a key that stands twice, NaN, infinity (a
    number too large for a float too), half a surrogate pair, or nesting beyond ``MAX_DEPTH``.
    """
    try:
        value = decoder.decode(data.decode("utf-8"))
        # Nothing is nested deeper than there are brackets that open.
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            _check_depth(value)
        if b"\\u" in data:  # the only way to half a pair, which nothing could write down again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        problem = f"nested deeper than {MAX_DEPTH}"
    except ValueError as error:
        problem = shorten(str(error))[1:-1]
    raise DamagedError(f"{where}: not JSON ({problem})") from None


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, (dict, list))]
        if not level:
            return
    raise RecursionError


def canonical_json(value: Any) -> bytes:
    """Sorted, compact UTF-8 JSON: equal values give equal bytes, so they can be hashed."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def json_bytes(value: Any) -> bytes:
    """A file of JSON for people, too: a dataclass, or JSON values, indented."""
    text = json.dumps(to_dict(value), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


_PLAIN = (str, float, int, bool, type(None))


def to_dict(value: Any) -> Any:
    """A frozen dataclass as plain JSON values (tuples become lists)."""
    if type(value) in _PLAIN:  # most of what there is
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    return value


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """The inverse of :func:`to_dict` for dataclass ``cls``; unknown and missing keys are errors.

    So are numbers that are not finite or beyond all use, and values that ``cls`` itself refuses.
    """
    value: T = _decode(cls, data, where)
    return value


MAX_INT = 10**30
"""A whole number beyond this is no size, count or seed; floats and arrays could not hold it."""


def _decode(hint: Any, data: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, data, where)
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in args:
            return None
        inner = [arg for arg in args if arg is not type(None)]
        exact = [arg for arg in inner if type(data) is arg]
        if len(inner) > 1 and not exact:
            names = " or ".join(arg.__name__ for arg in inner)
            raise ContractError(f"{where}: expected {names}, found {shorten(data)}")
        return _decode((exact or inner)[0], data, where)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise ContractError(f"{where}: expected a list, found {type(data).__name__}")
        if args[-1] is Ellipsis:
            return tuple(_decode(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(args) != len(data):
            raise ContractError(f"{where}: expected {len(args)} values, found {len(data)}")
        return tuple(_decode(a, item, where) for a, item in zip(args, data, strict=True))
    if origin is dict:
        if not isinstance(data, Mapping):
            raise ContractError(f"{where}: expected an object, found {type(data).__name__}")
        found = {
            _key(args[0], k, where): _decode(args[1], v, f"{where}.{str(k)[:40]}")
            for k, v in data.items()
        }
        if len(found) != len(data):
            raise ContractError(f"{where}: a key stands twice: {shorten(list(data))}")
        return found
    if hint is Any:
        return data
    is_int = isinstance(data, int) and not isinstance(data, bool)
    if is_int and not -MAX_INT < data < MAX_INT:
        raise ContractError(f"{where}: {shorten(data)} is beyond all sizes")
    if hint is float and is_int:
        return float(data)
    if hint is float and isinstance(data, float) and not math.isfinite(data):
        raise ContractError(f"{where}: expected a finite number, found {data}")
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        raise ContractError(f"{where}: expected {hint.__name__}, found {shorten(data)}")
    return data


def _key(hint: Any, key: str, where: str) -> Any:
    if hint is not int:
        return key
    try:
        return int(key)
    except ValueError:
        found = shorten(key)
        raise ContractError(f"{where}: expected a whole number as key, found {found}") from None


def _decode_dataclass(cls: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ContractError(f"{where}: expected an object, found {type(data).__name__}")
    hints, fields = _hints(cls)
    for key in data:
        if key not in fields:
            raise ContractError(f"{where}: {unknown_name('key', str(key), fields)}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError(f"{where}: key {name!r} is missing")
    try:
        return cls(**values)
    except ContractError as error:
        raise type(error)(f"{where}: {error}") from None


@functools.cache
def _hints(cls: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(type, field) of every name; looked up once, for an index may list a million shards."""
    return typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
