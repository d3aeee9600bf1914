"""axe-core, which finds violations of WCAG 2.2 AA in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.clients.npm import install

FOLDER = Path(__file__).parent / "axe"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """
async (rules) => {
  const found = await axe.run(document, {
    runOnly: { type: "tag", values: rules }, resultTypes: ["violations"],
  });
  return found.violations.map((one) => ({
    rule: one.id,
    help: one.help,
    elements: one.nodes.map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`),
  }));
}
"""


def axe_core() -> str:
    """Return the text of the script."""
    return (install(FOLDER) / "axe-core" / "axe.min.js").read_text("utf-8")


def violations(page: Page, script: str) -> list[str]:
    """Return what violates a rule in a page, as it is shown now: a line for each element."""
    page.evaluate(script)
    found: list[dict[str, Any]] = page.evaluate(RUN, RULES)
    return [f"{one['rule']}: {element}" for one in found for element in one["elements"]]
