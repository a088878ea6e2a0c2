// Runs before the first paint: the theme a person chose, and the mark that scripts run at all.

const chosen = localStorage.getItem("theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
document.documentElement.classList.add("has-script");
