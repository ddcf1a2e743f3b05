// What was typed or chosen for an item and not sent yet: kept per person and item, on this device only.
const MONTH = 30 * 24 * 3600 * 1000;

export class Drafts {
  #prefix;

  constructor(user) {
    this.#prefix = `plumb:draft:${user}:`;
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(this.#prefix) && JSON.parse(localStorage.getItem(key)).at < Date.now() - MONTH) {
        localStorage.removeItem(key);
      }
    }
  }

  save(item, verdict) {
    try {
      localStorage.setItem(this.#prefix + item, JSON.stringify({ at: Date.now(), verdict }));
      return true;
    } catch {
      return false; // storage is full: the form itself still holds it
    }
  }

  load(item) {
    const stored = localStorage.getItem(this.#prefix + item);
    return stored ? JSON.parse(stored).verdict : null;
  }

  drop(item) {
    localStorage.removeItem(this.#prefix + item);
  }
}
