"use strict";
// Sorts a table by the column whose heading is pressed: numbers by size, the rest as words; pressed again, backwards.
// Rows without the figure, failed bags among them, stay at the end.

function valueIn(row, column) {
  const text = row.cells[column]?.dataset.value ?? "";
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [valueIn(one, column), valueIn(other, column)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return direction * compare(a, b);
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      sortBy(table, column, direction);
    });
  });
}
