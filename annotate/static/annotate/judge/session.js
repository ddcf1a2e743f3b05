// The judging page: one item after the other, nothing lost on the way.
// A task type's widget.js calls startJudging with its keys and with how a choice becomes a verdict and back.
import { post, Trouble } from "./api.js";
import { Clock } from "./clock.js";
import { Drafts } from "./drafts.js";
import { Form } from "./form.js";
import { Keys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { setUpPanels } from "./panels.js";
import { Status } from "./status.js";
import { newUuid } from "./uuid.js";
import { showItem } from "./view.js";

const RETRY = 4_000; // ms

class Session {
  constructor(page, widget) {
    this.page = page.dataset;
    this.place = document.getElementById("item");
    this.item = null; // what is shown: {slot, token, id, uids}
    this.last = null; // what undo would take back: {what, id, item, verdict}
    this.retry = 0;
    this.busy = true;
    this.status = new Status();
    this.drafts = new Drafts(this.page.user);
    this.outbox = new Outbox(this.page.user);
    this.clock = new Clock();
    this.form = new Form(document.getElementById("dock"), widget, () => this.keepDraft());
    this.panels = setUpPanels({ skip: (reason) => this.skip(reason), leave: () => this.release() });
    this.keys = new Keys(this.#table(widget.keys));
    this.others = new BroadcastChannel(`plumb:judge:${this.page.user}:${this.page.project}`);
    this.#listen();
  }

  #table(choices) {
    const table = {
      Enter: () => this.submit(),
      Backspace: () => this.undo(),
      u: () => this.undo(),
      k: () => !this.busy && this.item && this.panels.skip(),
      g: () => this.panels.guidelines(),
      h: () => this.panels.guidelines(),
      m: () => this.panels.raw(),
      c: () => this.panels.earlier(),
      e: () => !this.busy && this.item && this.form.openReasons(),
      "?": () => this.panels.help(),
    };
    for (const [key, value] of Object.entries(choices)) table[key] = () => !this.busy && this.item && this.form.choose(value);
    return table;
  }

  #listen() {
    this.form.onSubmit(() => this.submit());
    document.getElementById("undo").addEventListener("click", () => this.undo());
    this.place.addEventListener("click", (event) => {
      if (event.target.closest("[data-again]")) this.next();
      if (event.target.closest("[data-undo]")) this.undo();
    });
    this.others.addEventListener("message", ({ data }) => this.#doneElsewhere(data.item));
    this.outbox.addEventListener("sent", ({ detail }) => this.#sent(detail));
    this.outbox.addEventListener("refused", ({ detail }) => this.#refused(detail));
    this.outbox.addEventListener("stuck", ({ detail }) => this.#stuck(detail.trouble));
    addEventListener("beforeunload", (event) => this.outbox.isVolatile && event.preventDefault());
    setInterval(() => this.#heartbeat(), Number(this.page.heartbeat) * 1000);
    document.addEventListener("visibilitychange", () => this.#heartbeat());
  }

  // First what waits from before, so that the site does not offer it again; then the next item.
  async start() {
    await this.outbox.drain();
    if (!this.outbox.waiting().length) await this.next();
  }

  async next() {
    clearTimeout(this.retry);
    this.#lock();
    try {
      const html = await post(this.page.next);
      ({ item: this.item, last: this.last } = await showItem(this.place, html));
      this.#unlock();
    } catch (trouble) {
      this.#explain(trouble);
      if (trouble.kind !== "refused") this.retry = setTimeout(() => this.next(), RETRY);
    }
  }

  #lock() {
    this.busy = true;
    this.form.disable(true);
    this.place.setAttribute("aria-busy", "true");
  }

  #unlock() {
    this.place.removeAttribute("aria-busy");
    document.getElementById("dock").hidden = !this.item;
    this.status.settle();
    this.busy = false;
    if (!this.item) return;
    this.form.fill(this.drafts.load(this.item.id), this.item.uids);
    this.form.disable(false);
    document.getElementById("undo").disabled = !this.last;
    this.panels.newItem();
    this.keys.hush();
    this.clock.restart();
  }

  keepDraft() {
    if (this.item && !this.drafts.save(this.item.id, this.form.verdict(this.item.uids))) {
      this.status.dot("waiting", "this browser's storage is full");
    }
  }

  submit() {
    if (this.busy || !this.item) return;
    if (!this.form.choice) {
      this.status.dot("ready", "choose an answer first");
      this.status.say("Choose an answer first.");
      return;
    }
    const { slot, token, id } = this.item;
    this.outbox.add({
      at: Date.now(),
      item: id,
      project: this.page.project,
      said: this.form.described,
      url: this.page.submit.replace("/0/", `/${slot}/`),
      body: {
        submission_id: newUuid(),
        lease_token: token,
        verdict: this.form.verdict(this.item.uids),
        seconds: this.clock.seconds,
      },
    });
    this.#lock();
    this.status.dot("saving");
    this.outbox.drain();
  }

  #sent({ entry, judgement }) {
    this.drafts.drop(entry.item);
    this.others.postMessage({ item: entry.item });
    this.status.dot("saved", judgement.over_quota ? `${entry.said}, as an extra` : entry.said);
    this.status.say(`Saved: ${entry.said}.`);
    if (!this.outbox.waiting().length) this.next();
  }

  // The site will never take it: what was written goes back to its author.
  #refused({ entry, trouble }) {
    const here = this.item?.id === entry.item;
    this.drafts.save(entry.item, entry.body.verdict);
    this.status.dot("waiting");
    this.status.banner("bad", trouble.message, { kept: here ? "" : entry.body.verdict.rationale ?? "", dismiss: true });
    if (trouble.code === "invalid" && here) {
      this.form.disable(false);
      this.busy = false;
    } else if (!this.outbox.waiting().length) {
      this.next();
    }
  }

  #stuck(trouble) {
    const waiting = this.outbox.waiting().length;
    const count = waiting === 1 ? "1 judgement is waiting" : `${waiting} judgements are waiting`;
    this.#explain(trouble, `${count}. Nothing is lost: they are kept on this device and sent as soon as possible.`);
  }

  #explain(trouble, more = "") {
    const known = trouble instanceof Trouble;
    if (!known) throw trouble;
    this.status.dot(trouble.kind === "session" ? "session" : trouble.kind === "offline" ? "offline" : "waiting");
    if (trouble.kind === "session") {
      const link = { href: this.page.login, text: "Sign in in a new tab" };
      this.status.banner("warn", `You are signed out. ${more || "Sign in and come back; this page goes on by itself."}`, { link });
    } else {
      const refused = trouble.kind === "refused"; // to be read: the next item must not sweep it away
      this.status.banner(refused ? "bad" : "warn", `${trouble.message} ${more}`, { dismiss: refused });
    }
  }

  #doneElsewhere(item) {
    if (this.busy || this.item?.id !== item) return;
    this.status.say("You judged this item in another tab.");
    this.next();
  }

  async undo() {
    const { last } = this;
    if (this.busy || !last) return;
    this.#lock();
    try {
      await post(this.page[last.what === "skip" ? "unskip" : "withdraw"].replace("/0/", `/${last.id}/`));
      if (last.what === "judgement") this.drafts.save(last.item, last.verdict);
      this.status.dot("ready", "taken back");
      this.status.say("Taken back. Here it is again.");
    } catch (trouble) {
      this.#explain(trouble);
    }
    await this.next();
  }

  async skip(reason) {
    if (this.busy || !this.item) return;
    const { slot, token, id } = this.item;
    this.#lock();
    try {
      await post(this.page.skip.replace("/0/", `/${slot}/`), { lease_token: token, reason });
    } catch (trouble) {
      this.#explain(trouble);
      this.form.disable(false);
      this.busy = false;
      return;
    }
    this.drafts.drop(id);
    this.others.postMessage({ item: id });
    this.status.dot("saved", "skipped");
    this.status.say("Skipped.");
    await this.next();
  }

  // Somebody else may have the item at once, instead of when the lease ends. Drafts stay on this device.
  async release() {
    if (!this.item || this.busy) return;
    const { slot, token } = this.item;
    this.busy = true;
    await post(this.page.release.replace("/0/", `/${slot}/`), { lease_token: token }, { keepalive: true }).catch(() => null);
  }

  async #heartbeat() {
    if (document.hidden || this.busy || !this.item) return;
    const { slot, token } = this.item;
    try {
      await post(this.page.beat.replace("/0/", `/${slot}/`), { lease_token: token });
    } catch (trouble) {
      if (trouble.code === "lease_lost" && this.item?.token === token) this.status.banner("warn", trouble.message);
    }
  }
}

export function startJudging(widget) {
  const page = document.getElementById("judge");
  if (page) new Session(page, widget).start();
}
