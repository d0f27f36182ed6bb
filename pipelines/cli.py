"""The command `atomlake`: puts the commands together and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib.util
import sys

import typer

from pipelines.commands import access, datasets, inbox, labels, lineage, migrate, potentials, query, reread, stack, trials, upkeep
from schemas.errors import AtomlakeError
from schemas.version import __version__

app = typer.Typer(
    name="atomlake",
    help="A lake of first-principles calculations that trains its own interatomic potentials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (stack, inbox, query, access, labels, potentials, trials, lineage, migrate, reread):
    app.registered_commands.extend(group.app.registered_commands)
app.add_typer(datasets.app, name="dataset")
app.add_typer(potentials.registry, name="potentials")
app.add_typer(upkeep.app, name="lake")

_EXTRAS = {
    "torch": "training", "lightning": "training", "vesin": "training", "safetensors": "training", "matplotlib": "training",
    "prefect": "pipelines", "dask": "pipelines", "distributed": "pipelines", "psutil": "pipelines", "httpx": "pipelines",
}  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atomlake {__version__}")
        raise typer.Exit


@app.callback()
def version(
    wanted: bool = typer.Option(False, "--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
) -> None:
    """Find, pin, train and use."""


def main() -> None:
    """Run the command line; exit code 1 for an error that is told in words, 2 for wrong usage."""
    try:
        app()
    except AtomlakeError as error:
        typer.secho(f"atomlake: {error}", err=True, fg="red")
        sys.exit(1)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None or importlib.util.find_spec((error.name or "").split(".")[0]) is not None:
            raise
        typer.secho(f"atomlake: this command needs {error.name}; install it with: pip install 'atomlake[{extra}]'", err=True, fg="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
