// Keeps the region of a page up to date, says so when it cannot, and adds buttons that copy text.
"use strict";

// The server sends an event at least every 15 seconds.
const SILENCE_MILLISECONDS = 40_000;
const GRACE_MILLISECONDS = 3_000;
const MAX_RETRY_MILLISECONDS = 30_000;

const region = document.getElementById("region");
const state = document.getElementById("live-state");
const stale = document.getElementById("stale");
const missing = document.getElementById("missing");
const loaded = document.getElementById("loaded");
let isPressed = false;

function showState(text, kind) {
  state.hidden = false;
  state.textContent = text;
  state.dataset.kind = kind;
  loaded.hidden = true;
}

// The banner depends on the age of the data, not on the state of the connection.
const freshness = {
  at: loaded.querySelector("time").dateTime,
  show(at) {
    this.at = at;
    stale.hidden = true;
    const time = loaded.querySelector("time");
    time.dateTime = at;
    time.textContent = at.slice(11, 19);
  },
  warn(reason) {
    const text = `${reason} Data from ${this.at.slice(11, 19)} UTC. `;
    if (!stale.hidden && stale.firstChild?.data === text) return;
    const link = document.createElement("a");
    link.href = "";
    link.textContent = "Reload";
    stale.replaceChildren(text, link);
    stale.hidden = false;
  },
};

// Replaces the region. Open and closed details and the focus are kept; while text is selected or a button of
// the mouse is down, it waits: a click needs the same element at its beginning and at its end.
function replace(html) {
  if (isPressed) return false;
  const details = [...region.querySelectorAll("details[id]")].map((one) => [one.id, one.open]);
  const active = document.activeElement;
  const focused = region.contains(active) ? pathOf(active) : null;
  const selection = document.getSelection();
  if (!selection.isCollapsed && region.contains(selection.anchorNode)) return false;
  region.innerHTML = html;
  for (const [id, isOpen] of details) document.getElementById(id)?.toggleAttribute("open", isOpen);
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

// Returns functions for the events of a stream: new data, and data that is still current.
function applied() {
  let waiting = null;
  let at = freshness.at;
  const show = () => {
    if (waiting !== null && replace(waiting)) waiting = null;
    if (waiting === null) freshness.show(at);
    else showState("paused while you select", "wait");
  };
  document.addEventListener("selectionchange", () => waiting !== null && show());
  const release = () => setTimeout(() => { isPressed = false; if (waiting !== null) show(); }); // after the click
  document.addEventListener("pointerdown", (event) => { isPressed = event.button === 0; });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, release);
  window.addEventListener("blur", release);
  return {
    region(event) { waiting = JSON.parse(event.data); },
    current(event) {
      at = JSON.parse(event.data);
      showState("live", "on");
      show();
    },
  };
}

function follow(address) {
  const page = applied();
  let retryMilliseconds = 2_000;
  let warning = null;
  let silence = null;

  const warnLater = (milliseconds) => {
    warning ??= setTimeout(() => freshness.warn("Connection lost."), milliseconds);
  };
  const connect = () => {
    const source = new EventSource(address);
    const lost = () => {
      showState("connecting", "off");
      warnLater(GRACE_MILLISECONDS);
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again
      clearTimeout(silence);
      setTimeout(connect, retryMilliseconds);
      retryMilliseconds = Math.min(2 * retryMilliseconds, MAX_RETRY_MILLISECONDS);
    };
    const received = (act) => (event) => {
      clearTimeout(warning);
      clearTimeout(silence);
      warning = null;
      retryMilliseconds = 2_000;
      silence = setTimeout(() => { source.close(); lost(); }, SILENCE_MILLISECONDS);
      act(event);
    };
    silence = setTimeout(() => { source.close(); lost(); }, SILENCE_MILLISECONDS);
    source.addEventListener("region", received(page.region));
    source.addEventListener("current", received(page.current));
    source.addEventListener("missing", received((event) => {
      const names = JSON.parse(event.data);
      missing.textContent = `Some data is missing: no answer from ${names.join(", ")}`;
      missing.hidden = names.length === 0;
    }));
    source.addEventListener("outage", received(() => {
      showState("no data", "off");
      freshness.warn("The database does not respond.");
    }));
    source.addEventListener("end", () => {
      clearTimeout(silence);
      source.close();
      state.hidden = true;
      loaded.hidden = false;
    });
    source.addEventListener("error", lost);
  };
  connect();
}

if (region) {
  decorate();
  if (region.dataset.live) follow(region.dataset.live);
}
