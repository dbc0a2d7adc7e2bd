"use strict";
// Sorting and filtering of the tables. Without this script they are plain tables in the order of the page.

// The number that a cell begins with, or null.
function numberOf(text) {
  const value = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(value) ? null : value;
}

// Orders rows by one column. What has no number ("baseline", "not measured") stays behind what has one.
function sortRows(table, column, direction) {
  const numeric = table.tHead.rows[0].cells[column].classList.contains("n");
  const keyed = Array.from(table.tBodies[0].rows, (row, index) => {
    const text = row.cells[column].textContent.trim();
    return { row, index, text, value: numeric ? numberOf(text) : null };
  });
  keyed.sort((a, b) => {
    if (numeric && (a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1;
    const order = numeric && a.value !== null ? a.value - b.value : a.text.localeCompare(b.text, "en", { numeric: true });
    return order * direction || a.index - b.index;
  });
  table.tBodies[0].append(...keyed.map((x) => x.row));
}

function makeSortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table, column, descending ? -1 : 1);
    });
  });
}

// Which column of a table names the model; -1 if none does.
function modelColumn(table) {
  return Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent.trim() === "Model");
}

// Hides the rows of other models (model "" = all) and those that lack one of the words, but no baseline for its words. A
// table without any row left is hidden too. Only rows of records are hidden. `hints` gives words that a row has unseen.
function filterRows(tables, model, words, hints) {
  for (const table of tables) {
    const column = modelColumn(table);
    let left = 0;
    for (const row of table.tBodies[0].rows) {
      if (row.dataset.records) {
        const other = model !== "" && column >= 0 && row.cells[column].textContent.trim() !== model;
        const text = `${row.textContent} ${hints(row)}`.toLowerCase();
        const baseline = row.cells[0].textContent === "baseline";
        row.hidden = other || (!baseline && !words.every((word) => text.includes(word)));
      }
      if (!row.hidden) left += 1;
    }
    const frame = table.closest(".table");
    if (frame) frame.hidden = left === 0;
  }
}
