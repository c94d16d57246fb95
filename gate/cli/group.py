"""A group of commands, that helps who does not know what they are called."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from gate.text import closest


class Group(click.Group):
    """Commands under one name; those of `lazy` (name → `module:attribute`) are imported only when they are called.

    Alone it prints its help, and ends with 2: nothing was decided. A name that it does not have is answered with the
    one that may have been meant.
    """

    def __init__(self, *arguments: Any, lazy: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in order."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; where there are none, help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names.

        Raises:
            click.UsageError: there is none.
        """
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        known = {path.rpartition(" ")[2]: path for path in self._paths(ctx)}
        meant = known.get(closest(name, known), "")
        where = f"{ctx.info_name} " if ctx.parent else ""
        raise click.UsageError(f"There is no command {name}.{meant and f' Did you mean: gate {where}{meant}?'}", ctx)

    def _paths(self, ctx: click.Context) -> Iterator[str]:
        """Every command's words, those of groups below first, so that what is nearer wins."""
        names = self.list_commands(ctx)
        for name in names:
            with suppress(ImportError):
                group = self.get_command(ctx, name)
                if isinstance(group, click.Group):
                    yield from (f"{name} {below}" for below in group.list_commands(ctx))
        yield from names
