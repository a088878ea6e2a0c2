// The lens page: what a cell's layer says in full, beside the cell, and arrow keys that move over the grid.

const grid = document.getElementById("grid");
const tip = document.getElementById("token-tip");

/** The cells as rows of links. */
const rows = grid ? [...grid.tBodies[0].rows].map((row) => [...row.querySelectorAll(".cell")]) : [];

/** The lines that were a cell's tooltip: a head, then tokens with their probabilities. */
function lines(cell) {
  return cell.dataset.tip.split("\n");
}

function note(text) {
  return Object.assign(document.createElement("p"), { className: "head", textContent: text });
}

function line(text) {
  const [token, share] = text.split("\t");
  const row = document.createElement("tr");
  const first = document.createElement("td");
  first.append(Object.assign(document.createElement("span"), { className: "tok", textContent: token }));
  row.append(first, Object.assign(document.createElement("td"), { className: "n", textContent: share }));
  return row;
}

function showTip(cell) {
  const [head, ...rest] = lines(cell);
  const table = document.createElement("table");
  table.append(...rest.filter((text) => text.includes("\t")).map(line));
  tip.replaceChildren(note(head), table, ...rest.filter((text) => !text.includes("\t")).map(note));
  tip.hidden = false;
  const at = cell.getBoundingClientRect();
  const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - 6 - tip.offsetHeight)}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** Makes one cell the one that Tab reaches. */
function reach(cell) {
  for (const each of rows.flat()) each.tabIndex = -1;
  cell.tabIndex = 0;
}

function move(event) {
  const row = rows.findIndex((cells) => cells.includes(event.target));
  if (row < 0) return;
  const column = rows[row].indexOf(event.target);
  const next = {
    ArrowLeft: rows[row][column - 1],
    ArrowRight: rows[row][column + 1],
    ArrowUp: rows[row - 1]?.[column],
    ArrowDown: rows[row + 1]?.[column],
    Home: rows[row][0],
    End: rows[row].at(-1),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  reach(next);
  next.focus();
}

if (grid) {
  for (const cell of rows.flat()) {
    cell.dataset.tip = cell.title;
    cell.removeAttribute("title");
    cell.setAttribute("aria-describedby", "token-tip");
  }
  const first = rows.flat().find((cell) => cell.hasAttribute("aria-current")) ?? rows.at(-1).at(-1);
  reach(first);
  // the last tokens are what a prompt is about
  const room = grid.parentElement;
  room.scrollLeft += first.getBoundingClientRect().right - room.getBoundingClientRect().right;
  const cellOf = (event) => event.target.closest?.(".cell");
  for (const type of ["mouseover", "focusin"]) grid.addEventListener(type, (event) => cellOf(event) && showTip(cellOf(event)));
  for (const type of ["mouseout", "focusout"]) grid.addEventListener(type, hideTip);
  grid.addEventListener("keydown", move);
  grid.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    for (const each of rows.flat()) each.removeAttribute("aria-current");
    cell.setAttribute("aria-current", "true");
    reach(cell);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
}
