// The demo: the slider of doses, and the space bar for the next step of the tour.

document.addEventListener("change", ({ target }) => {
  if (target.id === "dose") document.querySelectorAll(".doses a")[Number(target.value)].click();
});

document.addEventListener("keydown", (event) => {
  const next = document.getElementById("step-on");
  if (event.key !== " " || !next || event.target.closest("a, button, input, summary, textarea")) return;
  event.preventDefault();
  next.click();
});
