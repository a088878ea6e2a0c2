// Scripts of every page: theme, keyboard shortcuts and help.

const root = document.documentElement;

/** The theme in force: the chosen one, else the system's. */
function theme() {
  return root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = theme() === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  root.dispatchEvent(new Event("themechange"));
});

const help = document.getElementById("help");
const singleKeys = document.getElementById("single-keys");
singleKeys.checked = localStorage.getItem("single-keys") !== "off";
singleKeys.addEventListener("change", () => localStorage.setItem("single-keys", singleKeys.checked ? "on" : "off"));
document.getElementById("help-open").addEventListener("click", () => help.showModal());

const ACTIONS = {
  "/": () => document.querySelector("#jump input").focus(),
  "?": () => help.showModal(),
};

// On a narrow screen, scroll the run's navigation to the current entry.
document.querySelector(".sections [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const CHOICES = "input:is([type=radio], [type=checkbox])";

/** Does the element handle this key itself: typed characters, arrows or Enter? */
function takesKeys(element, key) {
  if (element.matches("dialog, dialog *")) return true;
  if (element.matches(CHOICES)) return key.startsWith("Arrow");
  if (key === "Enter") return element.matches("a[href], button, summary, input, textarea, select");
  return element.matches("input, textarea, select, [role=group][tabindex], [role=region][tabindex], .g");
}

/** Activates the element a shortcut names: focuses a field, clicks anything else. */
function press(target) {
  if (target.matches(`:is(input, textarea, select):not(${CHOICES})`)) target.focus();
  else target.click();
}

document.addEventListener("keydown", (event) => {
  if (!singleKeys.checked || event.ctrlKey || event.metaKey || event.altKey || takesKeys(event.target, event.key)) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  const action = target ? () => press(target) : ACTIONS[event.key];
  // Scripts of some pages have shortcuts of their own.
  if (action) action();
  const taken = action || !document.dispatchEvent(new CustomEvent("shortcut", { detail: event.key, cancelable: true }));
  if (taken) event.preventDefault();
});

// Keep addresses short: leave out a form's empty fields.
document.addEventListener("htmx:configRequest", ({ detail: { parameters } }) => {
  for (const [name, value] of Object.entries(parameters)) if (value === "") delete parameters[name];
});
