// The lens page: tips with a cell's most probable tokens, and arrow keys that move over the grid.

import { tips } from "./tips.js";

const grid = document.getElementById("grid");

/** The cells as rows of links. */
const rows = grid ? [...grid.tBodies[0].rows].map((row) => [...row.querySelectorAll(".cell")]) : [];

/** Makes one cell the grid's tab stop. */
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
  const first = rows.flat().find((cell) => cell.hasAttribute("aria-current")) ?? rows.at(-1).at(-1);
  reach(first);
  // Scroll to the prompt's last tokens: they are what it is about.
  const room = grid.parentElement;
  room.scrollLeft += first.getBoundingClientRect().right - room.getBoundingClientRect().right;
  tips(grid, ".cell");
  grid.addEventListener("keydown", move);
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest?.(".cell");
    if (!cell) return;
    for (const each of rows.flat()) each.removeAttribute("aria-current");
    cell.setAttribute("aria-current", "true");
    reach(cell);
  });
}
