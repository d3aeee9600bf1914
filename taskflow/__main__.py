"""``python -m taskflow``."""

from __future__ import annotations

from taskflow.version import install_command


def main() -> None:
    """Run the command line, or say what is to be installed first."""
    try:
        # Here, for it wants what the client does without; and each command imports its own.
        from taskflow import cli  # noqa: PLC0415

        cli.main(prog_name="taskflow")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "taskflow":
            raise
        raise SystemExit(
            f"taskflow: the service is not installed (there is no {error.name}; the extra cli has "
            f"the commands that call a service): run {install_command('server')}"
        ) from None


if __name__ == "__main__":
    main()
