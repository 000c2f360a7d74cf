"""Tables of the TOML file: settings that are more than a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..core.slots.accounts import ProviderEntry
from .field_types import UnusableValue


class ProviderTable(BaseModel):
    """A ``[[provider]]`` table; see :class:`m3uproxy.core.slots.accounts.ProviderEntry`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1)
    hosts: tuple[str, ...] = ()
    account: str | None = Field(None, repr=False)
    max_connections: int | None = Field(None, ge=0)

    @property
    def entry(self) -> ProviderEntry:
        """The same without the means to check it."""
        return ProviderEntry(self.name, self.hosts, self.account, self.max_connections)

    @model_validator(mode="after")
    def _fits_something(self) -> ProviderTable:
        if not self.hosts and self.account is None:
            raise UnusableValue("one has neither hosts nor account")
        return self


def each_named_once(tables: tuple[ProviderTable, ...]) -> tuple[ProviderTable, ...]:
    """The tables, if none has the name of another."""
    if len({table.name for table in tables}) < len(tables):
        raise UnusableValue("two of them have the same name")
    return tables
