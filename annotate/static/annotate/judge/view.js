// Puts an item that the site has rendered into the page, and says when it has been painted.
const painted = () => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });

function read(article) {
  const data = article.dataset;
  return {
    slot: data.slot,
    token: data.token,
    id: data.item,
    uids: JSON.parse(data.uids),
  };
}

// What is now to be judged (null when nothing is left), and what undo would take back.
export async function showItem(place, html) {
  const template = document.createElement("template");
  template.innerHTML = html; // made by our own templates; strangers' text in it has passed lib/text.py
  place.replaceChildren(template.content);
  scrollTo(0, 0);
  place.focus({ preventScroll: true });
  if (!document.hidden) await painted(); // a hidden tab paints nothing and must not wait for it
  const article = place.querySelector("[data-slot]");
  const last = place.querySelector("#last");
  return { item: article && read(article), last: last && JSON.parse(last.textContent) };
}
