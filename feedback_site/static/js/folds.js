// A field that is refused may be folded away, where the browser can neither show why nor go to it: it unfolds.
document.addEventListener("invalid", (event) => {
  for (let fold = event.target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
}, true);
