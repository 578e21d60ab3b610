/* Light, dark or high contrast: by the system unless a person chose; the choice is kept in this browser. */

const KEPT = "allocator.theme";
const CHOICES = new Set(["auto", "light", "dark", "contrast"]);

export function startTheme() {
  const select = document.getElementById("theme");
  const kept = localStorage.getItem(KEPT);
  show(CHOICES.has(kept) ? kept : "auto");
  select.value = document.documentElement.dataset.theme;
  select.addEventListener("change", () => {
    localStorage.setItem(KEPT, select.value);
    show(select.value);
  });
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
}
