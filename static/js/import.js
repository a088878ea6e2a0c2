// Reports a file that is too large before it is sent, and discards the check of a previous file.

const file = document.querySelector("#import input[type=file]");

function number(value) {
  return value.toLocaleString("en");
}

file?.addEventListener("change", () => {
  const [chosen] = file.files;
  const most = Number(file.dataset.most);
  const excess = chosen && chosen.size > most;
  file.setCustomValidity(excess ? `${chosen.name} has ${number(chosen.size)} bytes, the limit is ${number(most)}: split it` : "");
  file.reportValidity();
  document.querySelector("#import [name=action][value=import]")?.remove();
});
