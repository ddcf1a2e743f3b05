// What the page says about itself: the saved dot, the banner, and what is read aloud.
const WORDS = {
  ready: "Ready",
  saving: "Saving…",
  saved: "Saved",
  waiting: "Not saved yet",
  offline: "No connection",
  session: "Signed out",
};

export class Status {
  #dot = document.getElementById("saved");
  #banner = document.getElementById("banner");
  #spoken = document.getElementById("spoken");
  #mustBeRead = false;

  dot(state, detail = "") {
    this.#dot.dataset.state = state;
    this.#dot.querySelector("[data-text]").textContent = detail ? `${WORDS[state]}: ${detail}` : WORDS[state];
  }

  // kind: info, warn or bad. `kept` is text of the reader's own that would otherwise be lost; it can be copied.
  banner(kind, message, { link = null, kept = "", dismiss = false } = {}) {
    this.#mustBeRead = dismiss;
    this.#banner.className = `notice notice-${kind}`;
    this.#banner.replaceChildren(Object.assign(document.createElement("p"), { textContent: message }));
    if (link) {
      const anchor = Object.assign(document.createElement("a"), { href: link.href, textContent: link.text, target: "_blank" });
      this.#banner.append(anchor);
    }
    if (kept) this.#banner.append(this.#copyable(kept));
    if (dismiss) {
      const button = Object.assign(document.createElement("button"), { className: "button button-small", textContent: "All right" });
      button.addEventListener("click", () => this.clear());
      this.#banner.append(button);
    }
    this.#banner.hidden = false;
  }

  #copyable(text) {
    const box = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, rows: 3 });
    box.setAttribute("aria-label", "What you had written");
    return box;
  }

  clear() {
    this.#mustBeRead = false;
    this.#banner.hidden = true;
    this.#banner.replaceChildren();
  }

  // The trouble is over: what it said may go, unless somebody is to read and dismiss it.
  settle() {
    if (!this.#mustBeRead) this.clear();
  }

  say(sentence) {
    this.#spoken.textContent = sentence;
  }
}
