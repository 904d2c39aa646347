// What is known of each message's way, in the order in which this window learned it.

import { between, ofToken } from './places.js';

const MOST = 500;

export class Journeys {
  #ways = new Map();
  #changed;

  constructor(changed) { this.#changed = changed; }

  /** Everything known of a message: `[{title, at, facts, bad}]`, times in ms since the first. */
  of(id) { return this.#ways.get(id)?.steps ?? []; }

  /** One step more. `once`: not again, if there is one of that title already. */
  step(id, title, facts = {}, { bad = false, once = false } = {}) {
    let way = this.#ways.get(id);
    if (!way) {
      way = { began: performance.now(), steps: [] };
      this.#ways.set(id, way);
      if (this.#ways.size > MOST) this.#ways.delete(this.#ways.keys().next().value);
    }
    if (once && way.steps.some((step) => step.title === title)) return;
    way.steps.push({ title, at: performance.now() - way.began, facts, bad });
    this.#changed(id);
  }

  /** What an answer to a command says: that the event is durable, and where it stands. */
  answered(id, command, answer) {
    this.step(id, `Answer ${answer.status}`, { request: command, took: ms(answer.ms), 'request id': answer.headers.get('X-Request-Id') });
    const token = answer.headers.get('X-Consistency-Token');
    for (const place of ofToken(token ?? '')) this.step(id, 'Event in the ledger', { ...facts(place), token });
    return token;
  }

  /** A frame about it; `before` is the cursor before it. */
  frame(id, frame, before, more = {}) {
    const [place] = between(before, frame.cursor);
    const where = place ? facts(place) : {};
    this.step(id, `Frame ${frame.type}`, { ...more, ...where, cursor: frame.cursor });
  }
}

export function ms(time) {
  return time < 10 ? `${time.toFixed(1)} ms` : time < 10_000 ? `${Math.round(time)} ms` : `${Math.round(time / 1000)} s`;
}

function facts({ topic, partition, position }) {
  return { event: `${topic}, partition ${partition}, position ${position}` };
}
