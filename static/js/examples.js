// Examples by keyboard: j and k go to the next and the previous one, e marks the one in view as evidence, or unmarks it.

/** Where the examples begin, below the header that stays at the top. */
const EDGE = 72;
/** The example that j or k went to; it stays current while it is in view. */
let chosen;
/** Is the current example outlined? Always in the queue, elsewhere from the first shortcut on. */
let outlined = document.getElementById("queue") !== null;
let asked = false;

function inView(example) {
  const { top, bottom } = example.getBoundingClientRect();
  return bottom > EDGE && top < innerHeight;
}

/** How far an example begins from the upper edge. */
function distance(example) {
  return Math.abs(example.getBoundingClientRect().top - EDGE);
}

/** All examples, and which of them the shortcuts are about: the chosen one, else the one nearest the upper edge. */
function survey() {
  const examples = [...document.querySelectorAll("#examples .trigger")];
  if (!examples.includes(chosen) || !inView(chosen)) chosen = undefined;
  const distances = examples.map(distance);
  return { examples, at: chosen ? examples.indexOf(chosen) : distances.indexOf(Math.min(...distances)) };
}

function outline() {
  const { examples, at } = survey();
  examples.forEach((example, number) => example.classList.toggle("current", number === at));
}

/** Outlines the current example once the next frame is on screen: measuring before would hold that frame up. */
function outlineSoon() {
  if (!outlined || asked) return;
  asked = true;
  requestAnimationFrame(() => setTimeout(() => {
    asked = false;
    outline();
  }));
}

function go(by) {
  const { examples, at } = survey();
  const next = examples[at + by];
  if (!next) return;
  chosen = next;
  next.tabIndex = -1;
  next.scrollIntoView({ block: "start" });
  next.focus({ preventScroll: true });
}

const SHORTCUTS = {
  j: () => go(1),
  k: () => go(-1),
  e: () => {
    const { examples, at } = survey();
    examples[at]?.querySelector(".tick input")?.click();
  },
};

document.addEventListener("shortcut", (event) => {
  const shortcut = SHORTCUTS[event.detail];
  if (!shortcut) return;
  event.preventDefault();
  outlined = true;
  shortcut();
  outlineSoon();
});

addEventListener("scroll", outlineSoon, { passive: true });
document.addEventListener("htmx:afterSwap", outlineSoon);
new MutationObserver(outlineSoon).observe(document.getElementById("main"), { childList: true });
outlineSoon();
