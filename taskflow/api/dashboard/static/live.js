// Keeps the region of a page up to date, and adds buttons that copy commands.
"use strict";

const region = document.getElementById("region");
const state = document.getElementById("live-state");
let isPressed = false;

function showState(text, kind) {
  state.hidden = false;
  state.textContent = text;
  state.dataset.kind = kind;
}

// Replaces the region. Opened details and the focus are kept; while text is selected or a button of
// the mouse is down, it waits: a click needs the same element at its beginning and at its end.
function replace(html) {
  if (isPressed) return false;
  const open = [...region.querySelectorAll("details[open][id]")].map((one) => one.id);
  const active = document.activeElement;
  const focused = region.contains(active) ? pathOf(active) : null;
  const selection = document.getSelection();
  if (!selection.isCollapsed && region.contains(selection.anchorNode)) return false;
  region.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused !== null) elementAt(focused)?.focus({ preventScroll: true });
  decorate();
  return true;
}

function pathOf(element) {
  const path = [];
  for (let one = element; one !== region; one = one.parentElement) {
    path.unshift([...one.parentElement.children].indexOf(one));
  }
  return path;
}

function elementAt(path) {
  return path.reduce((one, place) => one?.children[place], region);
}

function decorate() {
  for (const text of region.querySelectorAll("pre.copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(text, button));
    text.before(button);
  }
  for (const time of document.querySelectorAll("time")) {
    time.title = new Date(time.dateTime).toLocaleString();
  }
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    // Without access to the clipboard (plain HTTP), the user can copy the selection.
    document.getSelection().selectAllChildren(text);
    button.textContent = "Selected: press Ctrl+C";
  }
}

function follow(address) {
  const source = new EventSource(address);
  let waiting = null;
  const show = () => {
    if (waiting !== null && replace(waiting)) waiting = null;
  };
  source.addEventListener("open", () => showState("live", "on"));
  source.addEventListener("region", (event) => {
    waiting = JSON.parse(event.data);
    show();
  });
  document.addEventListener("selectionchange", show);
  const release = () => setTimeout(() => { isPressed = false; show(); }); // after the click
  document.addEventListener("pointerdown", (event) => { isPressed = event.button === 0; });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, release);
  window.addEventListener("blur", release);
  source.addEventListener("end", () => {
    source.close();
    state.hidden = true;
  });
  source.addEventListener("error", () => {
    showState(source.readyState === EventSource.CLOSED ? "disconnected: reload the page" : "connecting", "off");
  });
}

if (region) {
  decorate();
  if (region.dataset.live) follow(region.dataset.live);
}
