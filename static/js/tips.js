// Shows an element's title in #token-tip on hover and focus: a browser's own tooltip reaches neither keyboard nor touch.

const tip = document.getElementById("token-tip");

const make = (tag, text, className = "") => Object.assign(document.createElement(tag), { textContent: text, className });

/** A line of a title: a token and its probability with a tab between them, or plain text. */
function line(text) {
  const [token, probability] = text.split("\t");
  if (probability === undefined) return make("p", text, "head");
  const row = make("div", "", "line");
  row.append(make("span", token, "tok"), make("span", probability));
  return row;
}

function show(element) {
  if (element.title) {
    element.dataset.tip = element.title;
    element.removeAttribute("title");
    element.setAttribute("aria-describedby", tip.id);
  }
  tip.replaceChildren(...element.dataset.tip.split("\n").map(line));
  tip.hidden = false;
  // The first box of a token that wraps; the tip goes above it where there is no room below.
  const at = element.getClientRects()[0] ?? element.getBoundingClientRect();
  const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - 6 - tip.offsetHeight)}px`;
}

function hide() {
  tip.hidden = true;
}

/** Show tips for the elements within `root` that match the selector. */
export function tips(root, selector) {
  const told = (event) => event.target.closest?.(`${selector}:is([title], [data-tip])`);
  for (const type of ["mouseover", "focusin"]) root.addEventListener(type, (event) => told(event) && show(told(event)));
  for (const type of ["mouseout", "focusout"]) root.addEventListener(type, hide);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
}
