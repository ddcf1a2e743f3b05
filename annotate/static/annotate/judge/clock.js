// How long somebody looked: from the moment everything was shown, without the time the page was hidden.
export class Clock {
  #began = null;
  #spent = 0;

  constructor() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#go()));
  }

  restart() {
    this.#spent = 0;
    this.#began = document.hidden ? null : performance.now();
  }

  get seconds() {
    const running = this.#began === null ? 0 : performance.now() - this.#began;
    return Math.round((this.#spent + running) / 100) / 10;
  }

  #pause() {
    if (this.#began !== null) this.#spent += performance.now() - this.#began;
    this.#began = null;
  }

  #go() {
    this.#began ??= performance.now();
  }
}
