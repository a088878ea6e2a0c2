// The demo: the slider of doses, the way to the result, and the space bar for the next step of the tour.

document.addEventListener("change", ({ target }) => {
  if (target.id === "dose") document.querySelectorAll(".doses a")[Number(target.value)].click();
});

// On a telephone the result is below the prompts.
document.addEventListener("htmx:afterSettle", ({ target }) => {
  const result = document.getElementById("result");
  if (target.id === "main" && result?.getBoundingClientRect().top > innerHeight / 2) result.scrollIntoView();
});

document.addEventListener("keydown", (event) => {
  const next = document.getElementById("step-on");
  if (event.key !== " " || !next || event.target.closest("a, button, input, summary, textarea")) return;
  event.preventDefault();
  next.click();
});
