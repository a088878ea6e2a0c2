// Fills in an invitation's code from the fragment of its link, which browsers never send to a server.

const code = document.getElementById("code");
if (location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
}
