// Pages work without this script. It counts and selects rows, and hides controls that do not apply.
"use strict";

const rows = () => [...document.querySelectorAll('input[name="asset"][type="checkbox"]')];

function refresh() {
  const all = document.querySelector("input[data-all]");
  const button = document.querySelector("button[data-selected]");
  const chosen = rows().filter((row) => row.checked).length;
  if (all) {
    all.hidden = false;
    all.checked = chosen > 0 && chosen === rows().length;
    all.indeterminate = chosen > 0 && chosen < rows().length;
  }
  if (button) {
    button.disabled = chosen === 0;
    button.textContent =
      chosen === 1 ? "To the selected host" : `To the ${chosen || ""} selected hosts`.replace("  ", " ");
  }
  for (const part of document.querySelectorAll("[data-only-kind]")) {
    const kind = document.getElementById("kind");
    part.hidden = kind !== null && kind.value !== part.dataset.onlyKind;
  }
}

// Encodes passwords for configurations in the browser; nothing is sent.
const encoder = document.querySelector("[data-base64]");
if (encoder) {
  encoder.hidden = false;
  const [password, encoded] = [encoder.querySelector("input"), encoder.querySelector("output")];
  encoder.addEventListener("submit", (event) => event.preventDefault());
  password.addEventListener("input", () => {
    encoded.value = btoa(String.fromCharCode(...new TextEncoder().encode(password.value)));
  });
}

document.addEventListener("change", (event) => {
  if (event.target.matches("input[data-all]")) {
    for (const row of rows()) row.checked = event.target.checked;
  }
  refresh();
});
document.addEventListener("htmx:afterSettle", refresh);
// A page restored by the browser has its selection, but not the selection count.
window.addEventListener("pageshow", refresh);
refresh();
