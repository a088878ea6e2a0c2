// Keeps an open key page up to date with what others say of the key, and leaves alone what somebody is typing.

const discussion = document.getElementById("discussion");
const said = document.getElementById("changes-said");
/** The stream of changes; none while the page is out of sight, for a browser opens few connections to a server. */
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
    // A browser tries again by itself after a stream that ended, but not where it is turned away.
    if (target.readyState === EventSource.CLOSED) lose();
  });
}

function lose() {
  said.textContent = "What others say of this key no longer appears by itself: reload the page.";
  said.classList.replace("visually-hidden", "note");
}

function rest() {
  stream?.close();
  stream = null;
}

/** Fetches the page as it is now and takes over what is marked to be kept up to date. */
async function refresh() {
  const answer = await fetch(location.href, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && !part.isEqualNode(now)) update(part, now);
  }
  said.textContent = "What others say of this key has changed.";
}

/** Takes over the new content, around the parts in which somebody is typing. */
function update(part, now) {
  const kept = new Map([...part.children].filter((child) => child.id && isTyping(child)).map((child) => [child.id, child]));
  if (kept.size === 0 && isTyping(part)) return;
  for (const child of [...part.childNodes]) if (!kept.has(child.id)) child.remove();
  let before = null;
  for (const child of [...now.childNodes]) {
    const mine = kept.get(child.id);
    // What is kept is never moved: it would lose the cursor.
    if (mine) before = mine;
    else {
      if (before) before.after(child);
      else part.prepend(child);
      before = child;
    }
  }
}

/** Is a form in it open, in use or filled in? */
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
