// The labelling queue without waiting: the next key is fetched and leased in advance and shown while the label is being
// saved. If saving fails, the key comes back with everything typed.

const RENEW_EVERY = 60_000;
const parser = new DOMParser();
const main = document.getElementById("main");
const queue = () => document.getElementById("queue");

/** @typedef {{ ok: boolean, address: string, nodes: Element[] }} Screen Contents of the main element. */

/** @type {Promise<Screen>} The next key. */
let next;
/** @type {Promise<boolean>} Whether the last answer was saved. */
let saved = Promise.resolve(true);
let busy = false;
/** Addresses of the leases on this key and the next. */
const held = new Set();

/** Fetches a fragment. */
async function fragment(address, options = {}) {
  const response = await fetch(address, { ...options, headers: { "HX-Request": "true" } });
  const { body } = parser.parseFromString(await response.text(), "text/html");
  return { ok: response.ok, address: response.url, nodes: [...body.children] };
}

function part(screen, id) {
  return screen.nodes.map((node) => (node.id === id ? node : node.querySelector(`#${id}`))).find(Boolean);
}

/** Fetches and leases the next key. */
function prefetch() {
  held.add(queue().dataset.lease);
  next = fragment(queue().dataset.next).then((screen) => {
    const found = part(screen, "queue");
    if (found) held.add(found.dataset.lease);
    return screen;
  });
  // A failure is handled when the key is needed.
  next.catch(() => {});
}

function call(method, address) {
  fetch(address, { method, keepalive: true }).catch(() => {});
}

/** Folds the numbers of a key, if those of the last one were folded. */
function fold(numbers) {
  if (!numbers) return;
  numbers.open = localStorage.getItem("queue-numbers") !== "folded";
  widen(numbers);
}

/** Gives the code the room of folded numbers. */
function widen(numbers) {
  numbers.closest(".queue").classList.toggle("folded", !numbers.open);
}

/** Replaces the current screen; returns the old one with everything typed into it. */
function swap(screen) {
  fold(part(screen, "numbers"));
  const before = { ok: true, address: location.href, nodes: [...main.children] };
  main.replaceChildren(...screen.nodes);
  const heading = main.querySelector("h1");
  document.title = document.title.replace(/^\S+/, heading.textContent);
  scrollTo(0, 0);
  heading.focus({ preventScroll: true });
  return before;
}

/** Puts a part of another screen in place of the one shown. */
function put(node) {
  document.getElementById(node.id).replaceWith(node);
}

/** A copy: this screen keeps its own, in case it comes back. */
function copy(id) {
  return document.getElementById(id).cloneNode(true);
}

function note(words) {
  const last = Object.assign(document.createElement("div"), { id: "last", role: "status" });
  last.append(Object.assign(document.createElement("p"), { className: "note", textContent: words }));
  return last;
}

/** Sends the form and goes on to the next key. */
async function answer(form, button) {
  const key = main.querySelector("h1").textContent;
  // The next key was drawn before this answer: what it says of the last label and of the progress is out of date.
  const last = button.value === "skip" ? copy("last") : note(`Saving your label of ${key} …`);
  const kept = [last, copy("progress")];
  const { lease } = queue().dataset;
  // Read the form now: its ticks leave the page with it. (form.action would be the button named action.)
  const options = { method: "POST", body: new FormData(form, button), keepalive: true };
  const sent = fragment(form.getAttribute("action"), options);
  const screen = await next.catch(() => undefined);
  if (!screen?.ok || !part(screen, "queue")) {
    // Nothing was left when the next key was fetched; ask the server again.
    if (await settle(sent, key)) location.assign(queue().dataset.next);
    return;
  }
  const before = swap(screen);
  kept.forEach(put);
  history.pushState({}, "", screen.address);
  saved = settle(sent, key, before).then((done) => {
    if (done) held.delete(lease);
    return done;
  });
  await painted();
  htmx.process(main);
  prefetch();
}

/** Waits until the key is on screen. */
function painted() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/** Waits for an answer to be saved, and brings its screen back if it was not. Returns whether it was. */
async function settle(sent, key, before) {
  const answered = await sent.catch(() => undefined);
  const last = answered && part(answered, "last");
  if (answered?.ok && last) {
    if (last.children.length) put(last);
    put(part(answered, "progress"));
    return true;
  }
  saved = Promise.resolve(true);
  if (before) {
    // The screen shown meanwhile is next again.
    next = Promise.resolve(swap(before));
    history.replaceState({}, "", before.address);
  }
  // A conflict or an error: show the server's page.
  if (answered) swap(answered);
  else complain(`The server does not answer, so your label of ${key} is not saved: send it again.`);
  return false;
}

function complain(words) {
  const problem = document.getElementById("queue-problem");
  problem.textContent = words;
  problem.hidden = false;
}

document.addEventListener("submit", async (event) => {
  if (event.target.id !== "label-form" || !queue()) return;
  event.preventDefault();
  if (busy) return;
  busy = true;
  try {
    if (await saved) await answer(event.target, event.submitter);
  } finally {
    busy = false;
  }
});

document.addEventListener("toggle", ({ target }) => {
  if (target.id !== "numbers") return;
  localStorage.setItem("queue-numbers", target.open ? "open" : "folded");
  widen(target);
}, { capture: true });
addEventListener("pagehide", () => held.forEach((each) => call("DELETE", each)));
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
addEventListener("popstate", () => location.reload());
setInterval(() => document.visibilityState === "visible" && held.forEach((each) => call("PUT", each)), RENEW_EVERY);
fold(document.getElementById("numbers"));
prefetch();
