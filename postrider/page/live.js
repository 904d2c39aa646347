// The socket: opened with a single-use ticket, opened again when it breaks, resumed where it was.

import { ask, server } from './api.js';

/** Close codes, in words. */
const ENDED = {
  1006: 'the connection broke',
  1012: 'the server restarts',
  4001: 'the session has ended',
  4008: 'this window was too slow',
};
const FIRST_WAIT = 250;
const LONGEST_WAIT = 4_000;
/** A connection that says nothing for so long is asked whether it still stands. */
const QUIET = 20_000;
const PATIENCE = 10_000;

/** One person's socket. Tells `frame(frame, before)`, `sent(frame)`, `state(name, words)` and `ended()` of whoever made it. */
export class Live {
  #session; #heard; #socket = null; #cursor; #wait = FIRST_WAIT; #timer = 0; #quiet = 0; #wanted = false; #attempt = 0;

  constructor(session, cursor, heard) {
    this.#session = session;
    this.#cursor = cursor;
    this.#heard = heard;
    this.onOffline = () => { if (this.#wanted) this.#break('offline', 'this machine is offline'); };
    this.onOnline = () => { if (this.#wanted) this.#soon(0); };
  }

  get isOpen() { return this.#socket?.readyState === WebSocket.OPEN; }
  get cursor() { return this.#cursor; }

  start() {
    this.#wanted = true;
    addEventListener('offline', this.onOffline);
    addEventListener('online', this.onOnline);
    this.#soon(0);
  }

  /** Closes it, and leaves it so until `start`. */
  stop(words = 'offline by choice') {
    this.#wanted = false;
    removeEventListener('offline', this.onOffline);
    removeEventListener('online', this.onOnline);
    this.#break('offline', words);
  }

  /** Whether it could be said. */
  send(type, payload = {}) {
    if (!this.isOpen) return false;
    const frame = { type, payload };
    this.#socket.send(JSON.stringify(frame));
    this.#heard.sent(frame);
    return true;
  }

  #break(state, words) {
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    this.#attempt += 1;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#heard.state(state, words);
  }

  #soon(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #again(words) {
    this.#heard.state('waiting', `${words}; trying again`);
    this.#soon(this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 1.7, LONGEST_WAIT);
  }

  async #open() {
    const attempt = ++this.#attempt;
    const current = () => this.#wanted && attempt === this.#attempt;
    this.#heard.state('waiting', 'connecting');
    let ticket;
    try {
      ticket = (await ask('POST', '/realtime/tickets', { token: this.#session.token })).body.ticket;
    } catch (refused) {
      if (!current()) return;
      if (refused.status === 401) this.#heard.ended();
      else this.#again(refused.message);
      return;
    }
    if (!current()) return;
    const query = new URLSearchParams({ ticket });
    if (this.#cursor) query.set('cursor', this.#cursor);
    const socket = new WebSocket(`${server.replace(/^http/, 'ws')}/ws/${this.#session.id}?${query}`);
    this.#socket = socket;
    socket.onmessage = ({ data }) => { if (current()) this.#hear(JSON.parse(data)); };
    socket.onclose = ({ code, reason }) => {
      if (!current()) return;
      clearTimeout(this.#quiet);
      this.#socket = null;
      this.#heard.closed?.(code, reason);
      if (code === 4001) this.#heard.ended();
      else this.#again(`${ENDED[code] ?? reason ?? 'closed'} (${code})`);
    };
  }

  #hear(frame) {
    const before = this.#cursor;
    if (frame.cursor) this.#cursor = frame.cursor;
    this.#listen();
    if (frame.type === 'connection_established') {
      this.#wait = FIRST_WAIT;
      this.#heard.state('live', 'connected');
    }
    this.#heard.frame(frame, before);
  }

  /** A network that is gone says nothing about it: after a while we ask, and without an answer we begin anew. */
  #listen() {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      this.send('ping');
      this.#quiet = setTimeout(() => {
        this.#break('waiting', 'no answer any more');
        this.#soon(0);
      }, PATIENCE);
    }, QUIET);
  }
}
