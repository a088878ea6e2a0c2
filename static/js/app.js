// What every page does beyond links and forms: the theme, the keyboard and the help.

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

/** Does the element take typed characters or arrow keys itself? */
function takesKeys(element) {
  return element.matches("input, textarea, select, dialog, dialog *, [role=group][tabindex], [role=region][tabindex], .g");
}

document.addEventListener("keydown", (event) => {
  if (!singleKeys.checked || event.ctrlKey || event.metaKey || event.altKey || takesKeys(event.target)) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  const action = target ? () => target.click() : ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// An address says only what was chosen: empty fields of a form are left out.
document.addEventListener("htmx:configRequest", ({ detail: { parameters } }) => {
  for (const [name, value] of Object.entries(parameters)) if (value === "") delete parameters[name];
});
