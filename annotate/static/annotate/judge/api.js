// Requests to the site. What went wrong is told by kind, because each kind has another cure:
// "offline" and "server" are tried again later, "session" needs somebody to sign in, "refused" needs a person.
export class Trouble extends Error {
  constructor(kind, code, message) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

const TIMEOUT = 20_000;
const token = () => document.querySelector('meta[name="csrf-token"]');

async function send(url, body, keepalive) {
  try {
    return await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token().content },
      body: JSON.stringify(body),
      redirect: "manual", // to the sign-in page, if anywhere
      keepalive,
      signal: AbortSignal.timeout(TIMEOUT),
    });
  } catch {
    throw new Trouble("offline", "offline", "There is no connection to the site.");
  }
}

// After signing in again, in another tab, this page's token is out of date: take the new one. False if still signed out.
async function refreshToken() {
  try {
    const response = await fetch(location.href, { redirect: "manual" });
    if (!response.ok) return false;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    token().content = page.querySelector('meta[name="csrf-token"]').content;
    return true;
  } catch {
    throw new Trouble("offline", "offline", "There is no connection to the site.");
  }
}

async function trouble(response) {
  if (response.type === "opaqueredirect" || response.status === 401) {
    return new Trouble("session", "signed_out", "You are signed out.");
  }
  const error = await response.json().then((body) => body.error, () => undefined);
  const message = error?.message ?? `The site answered with an error (${response.status}).`;
  const kind = response.status >= 500 || response.status === 429 || response.status === 408 ? "server" : "refused";
  return new Trouble(kind, error?.code ?? "error", message);
}

// The parsed answer (JSON or HTML as text, null for 204); throws Trouble.
export async function post(url, body = {}, { keepalive = false } = {}) {
  let response = await send(url, body, keepalive);
  const doubtful = response.type === "opaqueredirect" || response.status === 401 || response.status === 403;
  if (doubtful && !keepalive && (await refreshToken())) response = await send(url, body, keepalive);
  if (!response.ok) throw await trouble(response);
  if (response.status === 204) return null;
  const isJson = response.headers.get("Content-Type").startsWith("application/json");
  return isJson ? response.json() : response.text();
}
