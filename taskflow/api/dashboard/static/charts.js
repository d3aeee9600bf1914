// Reads charts: a box beside the pointer or the focused bucket has its values; arrow keys move the focus.
"use strict";

const box = document.createElement("div");
box.className = "reading";
box.hidden = true;
box.setAttribute("aria-hidden", "true"); // the bucket's label has the same text
document.body.append(box);
const KEYS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
let pointer = null;

function bucketOf(target) {
  return target instanceof Element ? target.closest("a.bucket") : null;
}

function show(bucket) {
  if (!bucket) {
    box.hidden = true;
    return;
  }
  bucket.querySelector("title")?.remove(); // it would appear as well, as the browser's own box
  const [time, values] = bucket.getAttribute("aria-label").split(": ");
  const heading = document.createElement("b");
  heading.textContent = time;
  box.replaceChildren(heading, ...values.split(", ").map(lineOf));
  box.hidden = false;
  place(bucket.getBoundingClientRect());
}

function lineOf(text) {
  const line = document.createElement("span");
  line.className = text.split(" ").at(-1);
  line.textContent = text;
  return line;
}

function place(around) {
  const left = around.right + 10;
  const fits = left + box.offsetWidth < document.documentElement.clientWidth;
  box.style.left = `${scrollX + Math.max(4, fits ? left : around.left - box.offsetWidth - 10)}px`;
  box.style.top = `${scrollY + around.top + 6}px`;
}

function current() {
  const hovered = pointer && bucketOf(document.elementFromPoint(pointer.x, pointer.y));
  return hovered ?? bucketOf(document.activeElement);
}

// The tab stop of a chart is its focused bucket, also after the region was replaced.
function keepTabStop() {
  const focused = bucketOf(document.activeElement);
  if (!focused) return;
  for (const one of focused.parentElement.querySelectorAll('a.bucket[tabindex="0"]')) one.setAttribute("tabindex", "-1");
  focused.setAttribute("tabindex", "0");
}

document.addEventListener("pointermove", (event) => {
  pointer = { x: event.clientX, y: event.clientY };
  show(current());
});
document.addEventListener("pointerleave", () => { pointer = null; show(current()); });
document.addEventListener("focusin", () => { pointer = null; keepTabStop(); show(current()); });
document.addEventListener("focusout", () => { if (!pointer) show(null); });
document.addEventListener("scroll", () => { pointer = null; show(current()); }, { passive: true });
document.addEventListener("keydown", (event) => {
  const bucket = bucketOf(event.target);
  if (event.key === "Escape") show(null);
  if (!bucket || !(event.key in KEYS) || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = [...bucket.parentElement.querySelectorAll("a.bucket")];
  const next = Math.min(all.length - 1, Math.max(0, all.indexOf(bucket) + KEYS[event.key]));
  event.preventDefault();
  all[next].focus();
});
const regionOfCharts = document.getElementById("region");
if (regionOfCharts) new MutationObserver(() => { keepTabStop(); show(current()); }).observe(regionOfCharts, { childList: true });
