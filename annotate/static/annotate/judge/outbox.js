// Judgements on their way. Each is kept in localStorage, under a key of its own (so that tabs cannot overwrite each
// other's), until the site has confirmed it. Sending again is harmless: the submission id makes it one judgement.
import { post } from "./api.js";

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

export class Outbox extends EventTarget {
  #prefix;
  #memory = new Map(); // where storage is full or forbidden
  #sending = null;
  #timer = 0;
  #wait = FIRST_WAIT;

  constructor(user) {
    super();
    this.#prefix = `plumb:outbox:${user}:`;
    addEventListener("online", () => this.#hurry());
    addEventListener("focus", () => this.#hurry());
    addEventListener("storage", (event) => {
      if (event.key?.startsWith(this.#prefix)) this.#tell("change");
    });
  }

  // Entries that wait, oldest first.
  waiting() {
    const entries = [...this.#memory.values()];
    for (let n = 0; n < localStorage.length; n += 1) {
      const key = localStorage.key(n);
      if (key.startsWith(this.#prefix)) entries.push(JSON.parse(localStorage.getItem(key)));
    }
    return entries.sort((one, other) => one.at - other.at);
  }

  add(entry) {
    try {
      localStorage.setItem(this.#prefix + entry.body.submission_id, JSON.stringify(entry));
    } catch {
      this.#memory.set(entry.body.submission_id, entry);
    }
    this.#tell("change");
  }

  remove(entry) {
    this.#memory.delete(entry.body.submission_id);
    localStorage.removeItem(this.#prefix + entry.body.submission_id);
    this.#tell("change");
  }

  get isVolatile() {
    return this.#memory.size > 0;
  }

  // Sends everything that waits. "sent" and "refused" tell about each entry, "stuck" why the rest must wait.
  drain() {
    this.#sending ??= this.#drain().finally(() => { this.#sending = null; });
    return this.#sending;
  }

  async #drain() {
    clearTimeout(this.#timer);
    for (let entry = this.waiting()[0]; entry; entry = this.waiting()[0]) {
      try {
        const judgement = await post(entry.url, entry.body);
        this.remove(entry);
        this.#wait = FIRST_WAIT;
        this.#tell("sent", { entry, judgement });
      } catch (trouble) {
        if (trouble.kind !== "refused") return this.#later(trouble);
        this.remove(entry);
        this.#tell("refused", { entry, trouble });
      }
    }
    return undefined;
  }

  #later(trouble) {
    this.#tell("stuck", { trouble });
    this.#timer = setTimeout(() => this.drain(), this.#wait);
    this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
  }

  #hurry() {
    this.#wait = FIRST_WAIT;
    if (this.waiting().length) this.drain();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
