// The choice lives in a cookie, so that the server writes html[data-theme] and no page flashes.
const NEXT = { "": "light", light: "dark", dark: "" };
const NAMES = { "": "as the system", light: "light", dark: "dark" };
const YEAR = 365 * 24 * 3600;

function show(button, theme) {
  button.querySelector("[data-theme-name]").textContent = NAMES[theme];
}

for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  const root = document.documentElement;
  show(button, root.dataset.theme ?? "");
  button.addEventListener("click", () => {
    const theme = NEXT[root.dataset.theme ?? ""];
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.cookie = `theme=${theme}; path=/; max-age=${theme ? YEAR : 0}; SameSite=Lax`;
    show(button, theme);
  });
}
