"""``taskflow key`` and ``taskflow secret``."""

from __future__ import annotations

import sys

import click

from taskflow.api.access.api_keys import DEFAULT_ROLE, ROLE_NAMES, Role, new_key
from taskflow.cli.exit_status import Failure
from taskflow.cli.sections import Commands
from taskflow.model.keyring import new_encryption_key
from taskflow.model.queue_scope import scope_of
from taskflow.model.signature import new_secret


@click.group("key", cls=Commands)
def key_command() -> None:
    """Create API keys, rotate encryption keys and the keys that sign ID tokens.

    \b
      (umask 077; taskflow key new ci >> keys)
      taskflow key rotate
      taskflow key rotate --id-tokens
    """


@key_command.command("new")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLE_NAMES),
    default=str(DEFAULT_ROLE),
    show_default=True,
    help="Permissions of the key; each role includes the ones before it.",
)
@click.option(
    "--queues",
    metavar="QUEUES",
    help="The only queues that the key may use, separated by commas; mail-* is every queue whose "
    "name begins with mail-.",
)
def _new_key(name: str, role: str, queues: str | None) -> None:
    """Create a key for NAME and its line for the keys file.

    The line is printed on standard output; add it to the file that TASKFLOW_API_KEYS_FILE names.
    The key is printed once, on standard error: the file contains only its hash.

    \b
      (umask 077; taskflow key new ci --role write >> keys)
      (umask 077; taskflow key new shop --queues 'mail,reports-*' >> keys)
    """
    try:
        scope = None if queues is None else scope_of(queues)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--queues") from None
    try:
        made, line = new_key(name, Role.named(role), scope)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    try:
        # First, since a key whose line is lost cannot be used.
        click.echo(line)
        sys.stdout.flush()
    except OSError as error:
        raise Failure(f"the line cannot be written: {error.strerror}") from None
    click.echo(f"the key of {name}, shown only once: {made}", err=True)


@key_command.command("rotate")
@click.option(
    "--id-tokens", is_flag=True, help="Replace the keys that sign ID tokens; encrypt nothing again."
)
@click.option(
    "--now",
    "is_leaked",
    is_flag=True,
    help="With --id-tokens, for keys that have leaked: withdraw them, and sign with new keys at "
    "once. Targets that have cached the published keys may reject tokens for up to an hour.",
)
def _rotate_keys(*, id_tokens: bool, is_leaked: bool) -> None:
    """Encrypt everything again with the first encryption key, or replace keys of ID tokens.

    Credentials, tasks and schedules that are encrypted with another key of TASKFLOW_ENCRYPTION_KEYS
    are encrypted again with the first key. The service can keep running, if the new key is the
    first one on all nodes. The command can be stopped and repeated at any time. When it succeeds,
    the other keys can be removed. The private keys of ID tokens and the passwords of egress proxies
    are included.

    With --id-tokens, new keys for ID tokens are published, and sign a day later, when all targets
    have read them. The keys until then stay published for another day. The nodes do the same every
    30 days by themselves.

    \b
      TASKFLOW_ENCRYPTION_KEYS=NEW,OLD taskflow key rotate
      taskflow key rotate --id-tokens
      taskflow key rotate --id-tokens --now
    """
    if is_leaked and not id_tokens:
        raise click.UsageError("--now needs --id-tokens")
    # Imported here, because nothing else in this module needs the service.
    from taskflow.cli.local.serve import rotate_keys, rotate_signing_keys  # noqa: PLC0415

    if id_tokens:
        rotate_signing_keys(is_leaked=is_leaked)
    else:
        rotate_keys()


@click.group("secret", cls=Commands)
def secret_command() -> None:
    """Create signing secrets and encryption keys.

    \b
      (umask 077; taskflow secret new >> secrets)
      (umask 077; taskflow secret new --encryption >> encryption-keys)
    """


@secret_command.command("new")
@click.option("--encryption", is_flag=True, help="Create a key that encrypts data at rest.")
def _new_secret(*, encryption: bool) -> None:
    """Create a secret that signs requests and callbacks, or an encryption key.

    It is printed on standard output. Set a secret as TASKFLOW_WEBHOOK_SECRETS, or add it to the
    file that TASKFLOW_WEBHOOK_SECRETS_FILE names, and give it to the targets that verify them. Set
    a key as TASKFLOW_ENCRYPTION_KEYS, or add it to the file that TASKFLOW_ENCRYPTION_KEYS_FILE
    names, on all nodes, and keep a copy: without the key, what it encrypted is lost.

    \b
      (umask 077; taskflow secret new >> secrets)
      (umask 077; taskflow secret new --encryption >> encryption-keys)
    """
    click.echo(new_encryption_key() if encryption else new_secret())
