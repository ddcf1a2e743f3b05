// <button data-dialog="id"> opens a dialog, <button data-close> closes the one it is in,
// <form data-confirm="Sentence?"> (or a submit button with it) asks before it is sent.
function ask(sentence, verb, danger) {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  const text = document.createElement("p");
  text.textContent = sentence;
  text.id = "confirm-text";
  const actions = document.createElement("div");
  actions.className = "actions";
  const no = document.createElement("button");
  no.className = "button button-quiet";
  no.textContent = "Cancel";
  const yes = document.createElement("button");
  yes.className = danger ? "button button-danger" : "button button-primary";
  yes.textContent = verb;
  actions.append(no, yes);
  dialog.append(text, actions);
  dialog.setAttribute("aria-labelledby", text.id);
  document.body.append(dialog);
  return new Promise((resolve) => {
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => dialog.close("yes"));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
  });
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const button = event.submitter;
  const sentence = button?.dataset.confirm ?? form.dataset.confirm;
  if (!sentence || form.dataset.confirmed) {
    delete form.dataset.confirmed;
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
  const danger = Boolean(button?.classList.contains("button-danger"));
  if (await ask(sentence, button?.textContent.trim() || "Go on", danger)) {
    form.dataset.confirmed = "yes";
    form.requestSubmit(button ?? undefined);
  }
}, true);

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog").close();
});
