// [data-filter="list"] holds a search field and a status; it hides what does not say all of the words in the field.
// Items: [data-filter-text] inside #list. A [data-filter-group] without items that are left goes too.
// The field is hidden in the page: without this script there is nothing that it could do.
for (const box of document.querySelectorAll("[data-filter]")) {
  const list = document.getElementById(box.dataset.filter);
  const field = box.querySelector("input");
  const status = box.querySelector("[role=status]");
  const none = document.querySelector("[data-filter-none]");
  const items = [...list.querySelectorAll("[data-filter-text]")];
  const texts = items.map((item) => item.dataset.filterText.toLowerCase());

  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    items.forEach((item, n) => { item.hidden = !words.every((word) => texts[n].includes(word)); });
    for (const group of list.querySelectorAll("[data-filter-group]")) {
      group.hidden = !group.querySelector("[data-filter-text]:not([hidden])");
    }
    const left = items.filter((item) => !item.hidden).length;
    status.textContent = words.length ? `${left} of ${items.length}` : "";
    none.hidden = left > 0;
  };

  box.hidden = false;
  field.addEventListener("input", apply);
  apply(); // the browser may have kept what was typed before
}
