"""A setting exists once: as a field of a frozen dataclass that says all there is to say about it.

ROS parameters (``nodes.parameters.declare_settings``), options of the command line
(``cli.setting_options``), the files in ``config/`` and the page docs/settings.md are derived from
these fields (``core.settings_text``).

>>> @dataclass(frozen=True)
... class Example:
...     wait_s: float = setting(0.3, "Longest wait.", unit="s", bounds=(0.0, 10.0), live=True)
>>> [s.name for s in settings_of(Example)]
['wait_s']
>>> check_settings(Example(wait_s=11.0))
Traceback (most recent call last):
    ...
dapdee_ros.core.settings.SettingError: wait_s is 11.0 s; expected 0 to 10 s
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Values = TypeVar("Values", bound=DataclassInstance)

_KEY = "setting"
_KNOWN: dict[type, tuple[Setting, ...]] = {}
_TYPES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of texts",
}


class SettingError(ValueError):
    """An invalid value of a setting; the message says which, what was given and what is allowed."""


@dataclass(frozen=True)
class Setting:
    """All there is to say about one setting.

    Attributes:
        name: its name, with the unit in it; that of the field.
        default: its default, whose type is the setting's; a tuple of texts for a list.
        help: what it does, in full sentences.
        unit: unit of a number, as it is shown; empty for a number without and for everything else.
        bounds: smallest and largest value of a number.
        choices: the values that a text may have.
        live: whether it takes effect when it is set while the process runs.
        on_configure: whether it takes effect when a lifecycle node is configured again.
        note: a few words for the end of a line of a parameter file and for an option of the command
            line; empty: the help.
    """

    name: str
    default: Any
    help: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    on_configure: bool = False
    note: str = ""

    @property
    def kind(self) -> type:
        """``bool``, ``int``, ``float``, ``str`` or ``tuple``."""
        return type(self.default)

    @property
    def expected(self) -> str:
        """The allowed values, as text."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.bounds is None:
            return _TYPES[self.kind]
        low, high = self.bounds
        unit = f" {self.unit}" if self.unit else ""
        if self.kind is int:
            return f"a whole number from {low} to {high}{unit}"
        return f"{low:g} to {high:g}{unit}"

    @property
    def words(self) -> str:
        """A short description for the end of a line."""
        return self.note or (self.help[0].lower() + self.help[1:]).removesuffix(".")

    @property
    def when(self) -> str:
        """When a new value takes effect, as text."""
        if self.live:
            return "at once"
        return "when configured" if self.on_configure else "at the start"

    def check(self, value: Any) -> Any:
        """A value as the setting has it: an int becomes a float where that is what it is.

        Raises:
            SettingError: if it is of another type, out of bounds, or no choice.
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is tuple and isinstance(value, (list, tuple)):
            value = tuple(value)
        # A bool is an int, but not a meaningful number.
        good = isinstance(value, self.kind) and (self.kind is bool) == isinstance(value, bool)
        if good and self.bounds is not None:
            good = math.isfinite(value) and self.bounds[0] <= value <= self.bounds[1]
        if good and self.choices:
            good = value in self.choices
        if not good:
            unit = f" {self.unit}" if self.unit and isinstance(value, (int, float)) else ""
            raise SettingError(f"{self.name} is {value!r}{unit}; expected {self.expected}")
        return value


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    choices: Sequence[str] = (),
    live: bool = False,
    on_configure: bool = False,
    note: str = "",
) -> Any:
    """A dataclass field that is a setting; see ``Setting`` for the arguments."""
    facts = {
        "help": help,
        "unit": unit,
        "bounds": bounds,
        "choices": tuple(choices),
        "live": live,
        "on_configure": on_configure,
        "note": note,
    }
    return field(default=default, metadata={_KEY: facts})


def setting_like(cls: type, name: str, help: str, **changes: Any) -> Any:
    """A setting with default, unit and range of another class's: each stands once."""
    (like,) = (s for s in settings_of(cls) if s.name == name)
    facts = {
        "unit": like.unit,
        "bounds": like.bounds,
        "choices": like.choices,
        "live": like.live,
        "on_configure": like.on_configure,
    }
    return setting(like.default, help, **(facts | changes))


def settings_of(cls: type) -> tuple[Setting, ...]:
    """The settings among a dataclass's fields, in their order."""
    if cls not in _KNOWN:
        _KNOWN[cls] = tuple(_setting(f) for f in fields(cls) if _KEY in f.metadata)
    return _KNOWN[cls]


def _setting(of: Field[Any]) -> Setting:
    if of.default is MISSING:
        raise TypeError(f"setting {of.name} has no default")
    return Setting(of.name, of.default, **of.metadata[_KEY])


def check_settings(values: Any) -> None:
    """Check all settings of a dataclass's instance: what its ``__post_init__`` calls.

    Numbers that came as int where a float is expected become one.

    Raises:
        SettingError: for the first invalid one.
    """
    for one in settings_of(type(values)):
        value = getattr(values, one.name)
        checked = one.check(value)
        if checked is not value:
            object.__setattr__(values, one.name, checked)


def changed(values: Values, given: Mapping[str, Any]) -> Values:
    """The same with those of the given values that are settings of it.

    Raises:
        SettingError: for an invalid value.
    """
    names = {one.name for one in settings_of(type(values))}
    return replace(values, **{name: v for name, v in given.items() if name in names})
