// One table of keys. Digits by their place on the keyboard (AZERTY has them on Shift), letters by what they say.
const QUIET = 250; // ms after an item is painted: a key that was meant for the last one must not hit the next
const TYPING = 'textarea, select, input:not([type="radio"], [type="checkbox"]), [contenteditable="true"]';
const TOUCH = matchMedia("(pointer: coarse)"); // on-screen keyboards have no Shift+Enter for a new line
const ENTER_IS_THEIRS = "button, a[href], summary, [role='button']";

function nameOf(event) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
  if (digit && !(event.code.startsWith("Numpad") && event.key.length > 1)) return digit[1];
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}

function belongsElsewhere(event, name) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return true;
  const target = event.target;
  if (target.matches(TYPING)) return name !== "Enter" || event.shiftKey || TOUCH.matches;
  if (name === "Enter" || name === " ") return target.matches(ENTER_IS_THEIRS);
  return name.startsWith("Arrow") && target.matches('input[type="radio"], .answer-body, pre');
}

export class Keys {
  #actions;
  #quietUntil = 0;

  constructor(actions) {
    this.#actions = actions;
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  hush() {
    this.#quietUntil = performance.now() + QUIET;
  }

  #press(event) {
    const name = nameOf(event);
    const action = this.#actions[name];
    if (!action || belongsElsewhere(event, name)) return;
    event.preventDefault();
    if (event.repeat || performance.now() < this.#quietUntil) return;
    action();
  }
}
