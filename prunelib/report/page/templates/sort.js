// Headers of tables become buttons that sort by each cell's data-sort value, and a long table gets a search field; without
// scripts the tables just stay as they are.
const LONG = 12;

for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => sortBy(table, header, index));
  });
  if (table.tBodies[0].rows.length > LONG) addSearch(table);
}

// Show the rows with every word typed, say how many there are.
function addSearch(table) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  const found = document.createElement("output");
  const line = document.createElement("p");
  const rows = [...table.tBodies[0].rows];
  field.type = "search";
  line.className = "search";
  label.append("Show rows with ", field);
  line.append(label, " ", found);
  table.closest(".table").prepend(line);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    found.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
}

function sortBy(table, header, index) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const value = (row) => row.cells[index].dataset.sort || row.cells[index].textContent.trim();
  const compare = (first, second) => {
    const numbers = [Number(value(first)), Number(value(second))];
    const text = value(first).localeCompare(value(second));
    return numbers.some(Number.isNaN) ? text : numbers[0] - numbers[1];
  };
  const rows = [...table.tBodies[0].rows].sort(compare);
  table.tBodies[0].append(...(ascending ? rows : rows.reverse()));
}
