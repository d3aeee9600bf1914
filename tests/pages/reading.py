"""Blocks that are not run, read by what would read them."""

from __future__ import annotations

import configparser
import io
import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping

import dotenv
import yaml

from taskflow.settings import catalogue

OF_THE_CLIENT = {"TASKFLOW_URL", "TASKFLOW_API_KEY"}
DIAGRAMS = {"flowchart", "sequenceDiagram", "stateDiagram-v2"}


def check_yaml(text: str) -> None:
    """It is YAML, of one or several documents."""
    list(yaml.safe_load_all(text))


def check_ini(text: str) -> None:
    """It has sections with settings, as systemd's units do."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters="=")
    parser.read_string(text)
    if not parser.sections():
        raise ValueError("there is no section in it")


def check_env(text: str) -> None:
    """Every line sets a setting that there is."""
    known = {setting.variable for setting in catalogue()} | OF_THE_CLIENT
    found = dotenv.dotenv_values(stream=io.StringIO(text))
    if unknown := found.keys() - known:
        raise ValueError(f"these are no settings: {sorted(unknown)}")


def check_shell(text: str) -> None:
    """Shells can read it."""
    _check("bash", "-n", text=text)


def check_javascript(text: str) -> None:
    """Node can read it, where there is one."""
    _check("node", "--check", "--input-type=module", "-", text=text)


def check_go(text: str) -> None:
    """Its brackets are whole; and gofmt can read it, where there is one."""
    _check("gofmt", "-e", text=text)
    for begin, end in ("{}", "()", "[]"):
        if text.count(begin) != text.count(end):
            raise ValueError(f"{begin} without {end}")


def check_ruby(text: str) -> None:
    """Ruby can read it, where there is one."""
    _check("ruby", "-c", text=text)


def check_diagram(text: str) -> None:
    """It is a diagram of a kind that is shown."""
    if text.split(maxsplit=1)[0] not in DIAGRAMS:
        raise ValueError("this is no diagram that is known")


def _check(program: str, *arguments: str, text: str) -> None:
    if shutil.which(program) is None:
        return
    ended = subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise ValueError(ended.stderr)


READERS: Mapping[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": check_yaml,
    "ini": check_ini,
    "env": check_env,
    "sh": check_shell,
    "javascript": check_javascript,
    "go": check_go,
    "ruby": check_ruby,
    "mermaid": check_diagram,
}
