// What opens and closes around an item: guidelines, keys, reasons to skip, raw text, earlier messages, A or B on a phone.
const OPEN = "plumb:guidelines";
const RAW = "plumb:raw";

function remember(key, on) {
  try {
    localStorage.setItem(key, on ? "1" : "");
  } catch { /* a full storage only forgets a preference */ }
}

export function setUpPanels({ skip, leave }) {
  const page = document.getElementById("judge");
  const drawer = document.getElementById("guidelines");
  const help = document.getElementById("help");
  const skipDialog = document.getElementById("skip-dialog");
  const rawButton = document.getElementById("raw");
  const drawerButton = document.getElementById("guidelines-button");
  const wide = matchMedia("(min-width: 64rem)");

  function guidelines(open = drawer.hidden) {
    drawer.hidden = !open;
    drawerButton.setAttribute("aria-expanded", String(open));
    page.classList.toggle("has-drawer", open);
    remember(OPEN, open);
    if (open) drawer.focus({ preventScroll: true });
    else drawerButton.focus({ preventScroll: true });
  }

  function raw(on = !page.classList.contains("shows-raw")) {
    page.classList.toggle("shows-raw", on);
    rawButton.setAttribute("aria-pressed", String(on));
    remember(RAW, on);
  }

  function earlier() {
    const details = document.querySelector(".earlier");
    if (details) details.open = !details.open;
  }

  function show(side) {
    page.dataset.side = side;
    for (const button of document.querySelectorAll("[data-show]")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === side));
    }
  }

  page.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show]");
    if (button) show(button.dataset.show);
  });
  drawerButton.addEventListener("click", () => guidelines());
  drawer.querySelector("[data-hide]").addEventListener("click", () => guidelines(false));
  drawer.addEventListener("keydown", (event) => event.key === "Escape" && guidelines(false));
  rawButton.addEventListener("click", () => raw());
  document.getElementById("leave").addEventListener("click", async (event) => {
    event.preventDefault();
    await leave();
    location.assign(event.target.href);
  });
  skipDialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const reason = [form.elements.reason.value, form.elements.words.value.trim()].filter(Boolean).join(": ");
    skipDialog.close();
    form.reset();
    skip(reason.slice(0, 300));
  });

  raw(localStorage.getItem(RAW) === "1");
  if (wide.matches && localStorage.getItem(OPEN) === "1") {
    guidelines(true);
    drawer.blur();
  }

  return {
    guidelines: () => guidelines(),
    raw: () => raw(),
    earlier,
    help: () => help.showModal(),
    skip: () => skipDialog.showModal(),
    newItem: () => show("a"),
  };
}
