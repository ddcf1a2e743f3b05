// The dock: a choice, reasons and a rationale. The widget knows what a choice means.
export class Form {
  #form;
  #widget;
  #rationale;
  #why = document.getElementById("why");
  #whyButton = document.getElementById("why-button");

  constructor(form, widget, onChange) {
    this.#form = form;
    this.#widget = widget;
    this.#rationale = form.elements.rationale;
    this.#whyButton.addEventListener("click", () => (this.#why.hidden ? this.openReasons() : this.#showWhy(false)));
    form.addEventListener("input", () => {
      this.#paint();
      onChange();
    });
  }

  onSubmit(submit) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
  }

  get choice() {
    return this.#form.elements.choice.value;
  }

  get described() {
    return this.#widget.describe(this.choice);
  }

  choose(value) {
    const radio = this.#form.querySelector(`input[name="choice"][value="${value}"]`);
    if (!radio) return; // such as a tie where the project allows none
    radio.checked = true;
    radio.dispatchEvent(new Event("input", { bubbles: true }));
  }

  verdict(uids) {
    const said = this.choice ? this.#widget.verdict(this.choice, uids) : {};
    const reasons = Array.from(this.#form.querySelectorAll('[name="reasons"]:checked'), (box) => box.value);
    if (reasons.length) said.reasons = reasons;
    if (this.#rationale.value.trim()) said.rationale = this.#rationale.value;
    return said;
  }

  fill(verdict, uids) {
    this.#form.reset();
    if (verdict) {
      const choice = this.#widget.choice(verdict, uids);
      for (const radio of this.#form.querySelectorAll('[name="choice"]')) radio.checked = radio.value === choice;
      for (const box of this.#form.querySelectorAll('[name="reasons"]')) box.checked = verdict.reasons?.includes(box.value) ?? false;
      this.#rationale.value = verdict.rationale ?? "";
      if (verdict.rationale || verdict.reasons?.length) this.#showWhy(true);
    }
    this.#paint();
  }

  disable(off) {
    this.#form.querySelector("#dock-fields").disabled = off;
  }

  openReasons() {
    this.#showWhy(true);
    this.#rationale.focus();
  }

  #showWhy(open) {
    this.#why.hidden = !open;
    this.#whyButton.setAttribute("aria-expanded", String(open));
  }

  #paint() {
    this.#form.dataset.chosen = this.choice;
    document.getElementById("chosen").textContent = this.choice ? this.described : "";
  }
}
