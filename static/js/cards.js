// Shows a key at a glance beside a link to it, on hover and on focus by keyboard; never on touch.

const DELAY = 300;
/** Milliseconds the card stays while the pointer is on its way to it. */
const GRACE = 150;
const KEY = /\/runs\/[^/]+\/keys\/[LED]\d+\.K\d+$/;

const card = Object.assign(document.createElement("div"), { id: "key-card", className: "tip key-card", hidden: true });
card.setAttribute("role", "tooltip");
document.body.append(card);

const fetched = new Map();
let link = null;
let timer = 0;

/** The link to a key that an event is about; null for one that leads to this page, or must not tell. */
function linkOf({ target }) {
  const found = target.closest?.("a[href]");
  return found && KEY.test(found.pathname) && found.pathname !== location.pathname && !found.dataset.noCard ? found : null;
}

/** The card of a key, asked for once; null if there is none. */
function content(path) {
  if (!fetched.has(path)) {
    const asked = fetch(path).then((answer) => (answer.ok && !answer.redirected ? answer.text() : null));
    fetched.set(path, asked.catch(() => null).then((text) => (text === null && fetched.delete(path), text)));
  }
  return fetched.get(path);
}

async function show(at) {
  const text = await content(`${at.pathname}/card`);
  if (text === null || link !== at || !at.isConnected) return;
  card.innerHTML = text; // our own server's, with every value escaped
  card.hidden = false;
  at.setAttribute("aria-describedby", card.id);
  const box = at.getBoundingClientRect();
  const below = box.bottom + 6 + card.offsetHeight < innerHeight;
  card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - card.offsetWidth - 8))}px`;
  card.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - 6 - card.offsetHeight)}px`;
}

function hide() {
  clearTimeout(timer);
  link?.removeAttribute("aria-describedby");
  link = null;
  card.hidden = true;
}

function open(event) {
  const found = linkOf(event);
  if (!found) return;
  if (found !== link) hide();
  clearTimeout(timer);
  link = found;
  if (card.hidden) timer = setTimeout(show, DELAY, found);
}

function close() {
  clearTimeout(timer);
  timer = setTimeout(hide, GRACE);
}

document.addEventListener("pointerover", (event) => event.pointerType === "mouse" && open(event));
document.addEventListener("pointerout", (event) => linkOf(event) && close());
document.addEventListener("focusin", (event) => event.target.matches?.(":focus-visible") && open(event));
document.addEventListener("focusout", (event) => linkOf(event) && hide());
document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
card.addEventListener("pointerenter", () => clearTimeout(timer));
card.addEventListener("pointerleave", close);
// what htmx replaces may be what the card stands beside
document.addEventListener("htmx:afterSwap", () => link && !link.isConnected && hide());
