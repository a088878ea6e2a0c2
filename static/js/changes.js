// Updates an open key page when others change its labels or comments, but never a form in use.

const discussion = document.getElementById("discussion");
const said = document.getElementById("changes-said");
/** The stream of changes; closed while the page is hidden, because browsers limit connections per server. */
let stream = null;
let state = discussion.dataset.state;

function listen() {
  const address = new URL(discussion.dataset.events, location.href);
  address.searchParams.set("since", state);
  stream = new EventSource(address);
  stream.addEventListener("changed", ({ data }) => {
    state = data;
    refresh().catch(() => {});
  });
  stream.addEventListener("open", () => said.classList.replace("note", "visually-hidden"));
  stream.addEventListener("error", ({ target }) => {
    // The browser reconnects by itself after a stream ends, but not after a refusal.
    if (target.readyState === EventSource.CLOSED) lose();
  });
}

function lose() {
  said.textContent = "This page no longer updates by itself: reload it to see others’ changes.";
  said.classList.replace("visually-hidden", "note");
}

function rest() {
  stream?.close();
  stream = null;
}

/** Fetches the current page and replaces the parts marked data-live. */
async function refresh() {
  const answer = await fetch(location.href, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && !part.isEqualNode(now)) update(part, now);
  }
  said.textContent = "Others have changed this key’s labels, decision or comments.";
}

/** Replaces a part's content, except children in which someone is typing. */
function update(part, now) {
  const kept = new Map([...part.children].filter((child) => child.id && isTyping(child)).map((child) => [child.id, child]));
  if (kept.size === 0 && isTyping(part)) return;
  for (const child of [...part.childNodes]) if (!kept.has(child.id)) child.remove();
  let before = null;
  for (const child of [...now.childNodes]) {
    const mine = kept.get(child.id);
    // Never move a kept child: it would lose focus.
    if (mine) before = mine;
    else {
      if (before) before.after(child);
      else part.prepend(child);
      before = child;
    }
  }
}

/** Is a form in it open, focused or changed? */
function isTyping(element) {
  const controls = [...element.querySelectorAll("input, textarea, select")];
  return element.querySelector("details[open] form") !== null || controls.some((each) => each === document.activeElement || isChanged(each));
}

function isChanged(control) {
  if (control.matches("select")) return [...control.options].some((option) => option.selected !== option.defaultSelected);
  return control.value !== control.defaultValue;
}

if (said) {
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : stream ?? listen()));
  addEventListener("pagehide", rest);
  if (!document.hidden) listen();
}
