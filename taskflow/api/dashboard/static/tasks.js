// Selected tasks of the list: they stay selected when the region is replaced; and one box for all.
"use strict";
{
  const list = document.getElementById("region");
  const chosen = new Set();
  const boxes = () => [...list.querySelectorAll("input[name=id]")];

  function show() {
    const shown = boxes();
    for (const box of shown) box.checked = chosen.has(box.value);
    const count = shown.filter((box) => box.checked).length;
    const note = document.getElementById("chosen");
    if (note) note.textContent = count ? `${count} selected:` : "Selected:";
    for (const button of list.querySelectorAll("button[form=selection]")) button.disabled = !count;
    const all = document.getElementById("all-boxes");
    if (!all) return;
    all.closest("label").hidden = false;
    all.checked = count > 0 && count === shown.length;
    all.indeterminate = count > 0 && count < shown.length;
  }

  if (list) {
    // After a step back, the browser may have checked boxes again.
    for (const box of boxes()) if (box.checked) chosen.add(box.value);
    list.addEventListener("change", (event) => {
      const changed = event.target.id === "all-boxes" ? boxes() : [event.target];
      for (const box of changed) {
        if (event.target.checked) chosen.add(box.value);
        else chosen.delete(box.value);
      }
      show();
    });
    new MutationObserver(show).observe(list, { childList: true });
    show();
  }
}
