// Goes on to the next open disagreement once one is decided in its table.

/** The row to go on to. */
let next;

document.addEventListener("htmx:beforeSwap", ({ detail: { target, xhr } }) => {
  const rows = [...document.querySelectorAll("#disagreements tbody tr")];
  const at = rows.indexOf(target);
  if (at < 0) return;
  const after = [...rows.slice(at + 1), ...rows.slice(0, at)];
  next = xhr.status < 400 ? after.find((row) => "open" in row.dataset) : undefined;
});

document.addEventListener("htmx:afterSettle", () => {
  next?.querySelector("select").focus();
  next = undefined;
});
