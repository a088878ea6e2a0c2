// The live page: shows both branches while they are generated, then the server's comparison, and keeps the address a permalink.

import { readEvents } from "./events.js";
import { legible } from "./legible.js";
import { tips } from "./tips.js";

const form = document.getElementById("live");
const said = document.getElementById("said");
const problem = document.getElementById("problem");
const pair = document.querySelector(".pair");
const buttons = { generate: document.getElementById("generate"), cancel: document.getElementById("cancel") };
const BRANCHES = ["baseline", "masked"];
/** Stops the generation in progress. */
let running = null;

const output = (branch) => document.querySelector(`#${branch}-out .out`);

/** The form's contents as the API takes them. */
function wanted() {
  const data = new FormData(form);
  const factors = data.getAll("factor");
  const [first, last] = data.get("span").split("-").map(Number);
  return {
    run: data.get("run"),
    prompt: data.get("prompt").replaceAll("\r\n", "\n"),
    masks: data.getAll("key").map((key, at) => ({ key, ...operation(factors[at]) })),
    max_new_tokens: Number(data.get("max_new_tokens")),
    temperature: Number(data.get("temperature")),
    seed: Number(data.get("seed")),
    top_logprobs: Number(data.get("top_logprobs")),
    positions: data.get("span") ? { first, last } : data.get("positions"),
  };
}

/** What becomes of a coefficient, as the API takes it: `0.5` scales it, `=0.25` takes its place. */
function operation(text) {
  return text.startsWith("=") ? { value: Number(text.slice(1)) } : { factor: Number(text) };
}

/** The address of the page in its present state. */
function permalink() {
  const { masks, positions, ...state } = wanted();
  const address = new URL(form.dataset.page, location.href);
  for (const [name, value] of Object.entries(state)) address.searchParams.set(name, value);
  for (const name of ["positions", "span"]) address.searchParams.set(name, form.elements[name].value);
  if (form.dataset.basket && !factorsChanged()) address.searchParams.set("mask", form.dataset.basket);
  else if (masks.length) address.searchParams.set("mask", masks.map(({ key, factor, value }) => `${key}:${factor ?? `=${value}`}`).join(","));
  return address;
}

/** Do the factors differ from those of the saved basket? */
function factorsChanged() {
  return [...form.querySelectorAll("[name=factor]")].some((factor) => factor.value !== factor.defaultValue);
}

function remember() {
  history.replaceState(null, "", permalink());
}

/** Posts JSON; throws the server's own words if it refuses. */
async function post(address, body, accept, signal) {
  const headers = { "Content-Type": "application/json", Accept: accept };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer;
}

async function generate() {
  running?.abort();
  const mine = (running = new AbortController());
  const request = wanted();
  remember();
  start(request.prompt);
  let begun = false;
  try {
    const answer = await post(form.dataset.generate, request, "text/event-stream", mine.signal);
    begun = true;
    const tokens = { baseline: [], masked: [] };
    for await (const { event, data } of readEvents(answer.body)) {
      if (event === "error") throw new Error(data.detail);
      if (event === "token") {
        tokens[data.branch].push(data);
        add(data);
      }
      if (event === "done") await compare({ prompt: request.prompt, ...tokens, done: data }, mine.signal);
    }
  } catch (error) {
    if (mine.signal.aborted) said.textContent = "Cancelled.";
    else complain(error.message, begun);
  } finally {
    if (running === mine) stop();
  }
}

function start(prompt) {
  problem.replaceChildren();
  said.textContent = "Generating …";
  for (const sheet of ["difference", "code"]) document.getElementById(sheet).hidden = true;
  for (const branch of BRANCHES) {
    output(branch).setAttribute("aria-busy", "true");
    output(branch).querySelector(".prompt").textContent = legible(prompt);
    output(branch).querySelector(".tokens").replaceChildren();
    output(branch).nextElementSibling.textContent = "";
  }
  buttons.cancel.hidden = false;
}

function stop() {
  running = null;
  buttons.cancel.hidden = true;
  for (const branch of BRANCHES) output(branch).removeAttribute("aria-busy");
}

function add({ branch, token }) {
  const span = Object.assign(document.createElement("span"), { className: "g", textContent: legible(token) });
  output(branch).querySelector(".tokens").append(span);
}

/** Puts the server's drawing of a finished generation into the page, part by part. */
async function compare(streamed, signal) {
  const answer = await post(form.dataset.outcome, streamed, "application/json", signal);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.body.children) {
    const shown = document.getElementById(part.id);
    shown.hidden = part.hidden;
    shown.replaceChildren(...part.childNodes);
  }
}

/** Says what went wrong; a generation that broke off is offered again. */
function complain(message, again) {
  const note = Object.assign(document.createElement("p"), { className: "note bad", textContent: message });
  if (again) {
    const button = Object.assign(document.createElement("button"), { type: "button", id: "again", textContent: "generate again" });
    button.addEventListener("click", generate);
    note.append(" ", button);
  }
  problem.replaceChildren(note);
  said.textContent = "";
}

tips(pair, ".g");
pair.addEventListener("keydown", (event) => {
  const token = event.target.closest(".g");
  const next = { ArrowLeft: token?.previousElementSibling, ArrowRight: token?.nextElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  token.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
// A tap focuses the token, which shows its tip.
pair.addEventListener("click", ({ target }) => target.closest(".g")?.focus());
form.addEventListener("submit", (event) => {
  if (event.submitter && event.submitter !== buttons.generate) return;
  event.preventDefault();
  generate();
});
form.addEventListener("change", remember);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(buttons.generate);
  } else if (event.key === "Enter" && event.target.id === "add") {
    event.preventDefault();
    form.requestSubmit(form.elements.edit);
  }
});
buttons.cancel.addEventListener("click", () => running?.abort());
document.getElementById("copy").addEventListener("click", async ({ target }) => {
  remember();
  await navigator.clipboard.writeText(location.href);
  target.textContent = "copied";
});
