// Fills the code of an invitation in from behind the # of its link, which browsers send to no server.

const code = document.getElementById("code");
if (location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
}
