"use strict";
// Sorts and filters the table. Without it the page shows all desks, the worst first.
const table = document.querySelector("#desks");
const body = table.tBodies[0];
const search = document.querySelector("#search");
const chips = [...document.querySelectorAll("[data-verdict-of]")];
const collator = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdictOf);
  let shown = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (wanted.length > 0 && !wanted.includes(row.dataset.verdict)) || !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  document.querySelector("#shown").textContent = `${shown} of ${body.rows.length}`;
  document.querySelector("#nothing").hidden = shown > 0;
}

function sort(header) {
  const column = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentElement.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.sort;
  const rows = [...body.rows].sort((one, two) => {
    // What is not known stands at the end, whichever way.
    if (value(one) === "" || value(two) === "") return (value(one) === "") - (value(two) === "");
    return (down ? -1 : 1) * collator.compare(value(one), value(two));
  });
  body.append(...rows);
}

for (const header of table.tHead.rows[0].cells) header.querySelector("button").addEventListener("click", () => sort(header));
for (const chip of chips) {
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
    show();
  });
}
search.addEventListener("input", show);
show();
