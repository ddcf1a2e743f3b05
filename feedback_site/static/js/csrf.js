// The token stands in a meta tag, because the cookie is HttpOnly.
export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]').content;
}

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = csrfToken();
});
