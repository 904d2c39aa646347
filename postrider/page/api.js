// Requests, as the person who is signed in, and what their answers say beside the body.

export const server = document.querySelector('meta[name="server"]').content || location.origin;

/** Why a request did not do what was asked. `status` is 0 when no answer came. */
export class Refused extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Asks. The answer: `{status, body, headers, ms}`; everything but a 2xx is thrown as `Refused`. */
export async function ask(method, path, { token, body, consistency } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (consistency) headers['X-Consistency-Token'] = consistency;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const began = performance.now();
  let answer, text;
  try {
    answer = await fetch(`${server}/api/v1${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(15_000),
    });
    text = await answer.text();
  } catch (error) {
    throw new Refused(0, 'unreachable', `No answer came (${error.message})`);
  }
  const ms = performance.now() - began;
  let parsed = null;
  try { parsed = JSON.parse(text); } catch { /* an answer without a body */ }
  if (!answer.ok) throw new Refused(answer.status, parsed?.code, parsed?.detail ?? `The server answered ${answer.status}`);
  return { status: answer.status, body: parsed, headers: answer.headers, ms };
}

/** A UUIDv7. (`crypto.randomUUID` exists on secure pages only; a page on another machine's port 8000 is none.) */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const now = Date.now();
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(now / 2 ** (8 * (5 - i))) & 0xff;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
