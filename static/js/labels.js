// The label form: evidence ticked across tabs, and tag suggestions one by one.

/** Triggers the form remembers while they are not on the page. */
function kept(form) {
  return [...form.querySelectorAll("[name=kept]")];
}

/** Copies the page's ticks into the form before another tab replaces it. */
function remember(form) {
  for (const tick of document.querySelectorAll("#examples [name=evidence]")) {
    const held = kept(form).find((input) => input.value === tick.value);
    if (tick.checked && !held) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "kept", value: tick.value }));
    if (!tick.checked) held?.remove();
  }
}

/** Restores the ticks of the tab just loaded. */
function restore(form) {
  const places = new Set(kept(form).map((input) => input.value));
  for (const tick of document.querySelectorAll("#examples [name=evidence]")) tick.checked = places.has(tick.value);
}

for (const [event, act] of [["htmx:beforeSwap", remember], ["htmx:afterSwap", restore]]) {
  document.addEventListener(event, ({ detail }) => {
    const form = document.getElementById("label-form");
    if (form && detail.target?.id === "examples") act(form);
  });
}

// A datalist completes a whole field, so prefix each suggestion with the tags typed before.
document.addEventListener("input", ({ target }) => {
  if (target.name !== "tags" || !target.list) return;
  const typed = target.value.split(",").map((tag) => tag.trim());
  const before = typed.slice(0, -1).filter(Boolean);
  for (const option of target.list.options) {
    option.dataset.tag ??= option.value;
    option.value = [...before, option.dataset.tag].join(", ");
  }
});

// Escape leaves a field, so single-key shortcuts work again.
document.addEventListener("keydown", ({ key, target }) => {
  if (key === "Escape" && target.closest("#label-form, .tick")) target.blur();
});
