// What stands in `encrypted_content`. This page does not encrypt: it says so in the field that names the algorithm, and on itself.

const ALGORITHM = 'none, base64';

/** The fields of a message that carry this text. */
export function sealed(text) {
  const bytes = new TextEncoder().encode(text);
  const encoded = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  return { encrypted_content: encoded, encrypted_session_key: '', encryption_algorithm: ALGORITHM, kdf_algorithm: 'none' };
}

/** The text of a message; of one that others have encrypted, what is stored. */
export function opened(message) {
  const content = message.encrypted_content ?? '';
  if (message.encryption_algorithm !== ALGORITHM) return content;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(atob(content), (char) => char.charCodeAt(0)));
  } catch {
    return content;
  }
}
