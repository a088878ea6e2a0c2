// The live page: reads both branches as they are generated, marks where they part, and keeps the address a permalink.

import { differing } from "./diff.js";
import { readEvents } from "./events.js";

const form = document.getElementById("live");
const said = document.getElementById("said");
const problem = document.getElementById("problem");
const tip = document.getElementById("token-tip");
const buttons = { generate: document.getElementById("generate"), cancel: document.getElementById("cancel") };
const BRANCHES = ["baseline", "masked"];
/** The tokens of each branch as they came. */
let branches = { baseline: [], masked: [] };
/** Stops the generation that runs. */
let running = null;

const percent = (logprob) => `${(100 * Math.exp(logprob)).toPrecision(2)} %`;
const visible = (token) => token.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
const column = (branch) => document.querySelector(`#${branch} .tokens`);

/** What the form says, as the API takes it. */
function wanted() {
  const data = new FormData(form);
  const factors = data.getAll("factor");
  return {
    run: data.get("run"),
    prompt: data.get("prompt").replaceAll("\r\n", "\n"),
    masks: data.getAll("key").map((key, at) => ({ key, factor: Number(factors[at]) })),
    max_new_tokens: Number(data.get("max_new_tokens")),
    temperature: Number(data.get("temperature")),
    seed: Number(data.get("seed")),
    top_logprobs: Number(data.get("top_logprobs")),
  };
}

/** The address of the page in its present state. */
function permalink() {
  const { masks, ...state } = wanted();
  const address = new URL(form.dataset.page, location.href);
  for (const [name, value] of Object.entries(state)) address.searchParams.set(name, value);
  if (form.dataset.basket && !factorsChanged()) address.searchParams.set("mask", form.dataset.basket);
  else if (masks.length) address.searchParams.set("mask", masks.map(({ key, factor }) => `${key}:${factor}`).join(","));
  return address;
}

/** Is the saved basket no longer what the form says? */
function factorsChanged() {
  return [...form.querySelectorAll("[name=factor]")].some((factor) => factor.value !== factor.defaultValue);
}

function remember() {
  history.replaceState(null, "", permalink());
}

async function generate() {
  running?.abort();
  const mine = (running = new AbortController());
  const request = wanted();
  remember();
  start(request.prompt);
  try {
    const answer = await fetch(form.dataset.generate, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify(request),
      signal: mine.signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    for await (const { event, data } of readEvents(answer.body)) handle(event, data);
  } catch (error) {
    if (mine.signal.aborted) said.textContent = "Cancelled.";
    else complain(error.message);
  } finally {
    if (running === mine) stop();
  }
}

function start(prompt) {
  branches = { baseline: [], masked: [] };
  problem.replaceChildren();
  said.textContent = "Generating …";
  for (const sheet of ["difference", "code"]) document.getElementById(sheet).hidden = true;
  for (const branch of BRANCHES) {
    const section = document.getElementById(branch);
    section.querySelector(".prompt").textContent = prompt;
    section.querySelector(".said").textContent = "";
    section.querySelector(".out").setAttribute("aria-busy", "true");
    column(branch).replaceChildren();
  }
  buttons.cancel.hidden = false;
}

function stop() {
  running = null;
  buttons.cancel.hidden = true;
  for (const branch of BRANCHES) document.querySelector(`#${branch} .out`).removeAttribute("aria-busy");
}

function handle(event, data) {
  if (event === "error") throw new Error(data.detail);
  if (event === "token") add(data);
  if (event === "done") finish(data);
}

function add(token) {
  const tokens = branches[token.branch];
  tokens[token.index] = token;
  const span = document.createElement("span");
  span.className = "g";
  span.textContent = token.token;
  span.dataset.branch = token.branch;
  span.dataset.index = token.index;
  span.tabIndex = token.index === 0 ? 0 : -1;
  span.setAttribute("role", "option");
  span.setAttribute("aria-label", `${visible(token.token)} ${percent(token.logprob)}`);
  span.setAttribute("aria-describedby", "token-tip");
  column(token.branch).append(span);
  // As long as the branches agree token by token, the first that does not is the divergence.
  const [one, other] = BRANCHES.map((branch) => branches[branch][token.index]);
  if (one && other && one.token_id !== other.token_id && firstDivergence() === token.index) mark([token.index], [token.index]);
}

function firstDivergence() {
  const { baseline, masked } = branches;
  const length = Math.max(baseline.length, masked.length);
  for (let at = 0; at < length; at++) if (baseline[at]?.token_id !== masked[at]?.token_id) return at;
  return null;
}

function mark(...sides) {
  const first = firstDivergence();
  BRANCHES.forEach((branch, side) => {
    const differ = new Set(sides[side]);
    for (const span of column(branch).children) {
      const at = Number(span.dataset.index);
      span.classList.toggle("differs", differ.has(at));
      span.classList.toggle("first", at === first);
    }
  });
}

function finish({ first_divergence: first, applied, elapsed_ms: elapsed, code }) {
  mark(...differing(branches.baseline.map((token) => token.token_id), branches.masked.map((token) => token.token_id)));
  for (const branch of BRANCHES) {
    const tokens = branches[branch];
    const mean = tokens.reduce((sum, token) => sum + token.logprob, 0) / tokens.length;
    const summary = document.querySelector(`#${branch} .said`);
    if (tokens.length) summary.textContent = `log-probability ${mean.toFixed(2).replace("-", "−")} per token`;
  }
  const parted = first === null ? "Both branches agree on every token." : `They first differ at token ${first + 1}.`;
  said.textContent = `${parted} ${applied.keys} ${applied.keys === 1 ? "key" : "keys"} masked at ${applied.positions} positions, ${Math.round(elapsed)} ms.`;
  if (first !== null) showDifference(first);
  if (code) showCode(code);
}

/** Whether either branch still parses, how far they are apart, and which names came and went. */
function showCode(code) {
  const sheet = document.getElementById("code");
  const tell = (name, text) => (sheet.querySelector(`[data-code="${name}"]`).textContent = text);
  for (const branch of BRANCHES) {
    const { parses, errors, first_error_line: line } = code[branch];
    tell(branch, parses ? "parses to its end" : `broken first in line ${line}, in all ${errors} times`);
  }
  tell("edit_distance", `${code.edit_distance} tokens`);
  for (const names of ["lost", "added", "invented"]) tell(names, code[names].join(", ") || "none");
  tell("language", code.language[0].toUpperCase() + code.language.slice(1));
  sheet.hidden = false;
}

/** The probabilities of both branches at their first difference, side by side. */
function showDifference(at) {
  const sides = BRANCHES.map((branch) => new Map(considered(branches[branch][at]).map((each) => [each.token, each.logprob])));
  const rows = [...new Set([...sides[0].keys(), ...sides[1].keys()])].map((token) =>
    row([visible(token), ...sides.map((side) => (side.has(token) ? percent(side.get(token)) : "–"))], "tok"),
  );
  const sheet = document.getElementById("difference");
  sheet.querySelector("tbody").replaceChildren(...rows);
  sheet.hidden = false;
}

/** A step's alternatives, with the token taken where it is none of them. */
function considered(token) {
  if (!token) return [];
  return token.top.some((each) => each.token_id === token.token_id) ? token.top : [...token.top, token];
}

function row([name, ...values], css) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const label = document.createElement("span");
  label.className = css;
  label.textContent = name;
  head.append(label);
  line.append(head, ...values.map((value) => Object.assign(document.createElement("td"), { className: "n", textContent: value })));
  return line;
}

function complain(message) {
  const note = document.createElement("p");
  note.className = "note bad";
  note.textContent = message;
  problem.replaceChildren(note);
  said.textContent = "";
}

/** Shows what the model thought of at a token, beside it. */
function showTip(span) {
  const token = branches[span.dataset.branch][span.dataset.index];
  const head = document.createElement("p");
  head.textContent = `token ${token.index + 1} · log-probability ${token.logprob.toFixed(3).replace("-", "−")}`;
  const table = document.createElement("table");
  table.append(...considered(token).map((each) => row([visible(each.token), percent(each.logprob)], each.token_id === token.token_id ? "tok taken" : "tok")));
  tip.replaceChildren(head, table);
  tip.hidden = false;
  const at = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const below = at.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? at.bottom + 6 : at.top - 6 - tip.offsetHeight}px`;
}

function hideTip() {
  tip.hidden = true;
}

const tokenOf = (event) => event.target.closest?.(".g[data-branch]");
for (const branch of BRANCHES) {
  const tokens = column(branch);
  tokens.setAttribute("role", "listbox");
  tokens.setAttribute("aria-label", `${branch} tokens`);
  for (const type of ["mouseover", "focusin"]) tokens.addEventListener(type, (event) => tokenOf(event) && showTip(tokenOf(event)));
  for (const type of ["mouseout", "focusout"]) tokens.addEventListener(type, hideTip);
  tokens.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    const next = step && tokenOf(event)?.[step];
    if (!next) return;
    event.preventDefault();
    tokenOf(event).tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

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
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
buttons.cancel.addEventListener("click", () => running?.abort());
document.getElementById("copy").addEventListener("click", async ({ target }) => {
  remember();
  await navigator.clipboard.writeText(location.href);
  target.textContent = "copied";
});
