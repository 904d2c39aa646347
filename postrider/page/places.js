// Looks into what is opaque to every other client: where in which topic an event stands, as `X-Consistency-Token` and `cursor` carry it.
// This page comes with the server and knows its release. Whoever else reads these texts will break with the next one: hand them back as they are.

const TOPICS = { 1: 'auth.events', 2: 'messages.events', 3: 'users.events' };

function bytes(text) {
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Array.from(plain, (char) => char.charCodeAt(0));
}

/** LEB128, as the server writes numbers. */
function reader(list) {
  let at = 0;
  const byte = () => {
    if (at >= list.length) throw new Error('it ends too soon');
    return list[at++];
  };
  const number = () => {
    let n = 0;
    for (let shift = 1; ; shift *= 128) {
      const next = byte();
      n += (next & 0x7f) * shift;
      if (next < 0x80) return n;
    }
  };
  return { byte, number, skip: (count) => { at += count; }, ended: () => at >= list.length };
}

/** The places that a consistency token waits for: `[{topic, partition, position}]`; empty when it cannot be read. */
export function ofToken(token) {
  try {
    const [version, rest] = token.split('.');
    if (version !== '1') return [];
    const read = reader(bytes(rest));
    for (let left = read.number(); left > 0; left--) read.skip(5);
    const places = [];
    for (let left = read.number(); left > 0; left--) {
      const topic = TOPICS[read.byte()];
      const generation = read.number();
      const partition = read.number();
      const position = read.number();
      places.push({ topic: generation === 1 ? topic : `${topic}.${generation}`, partition, position });
    }
    return places;
  } catch {
    return [];
  }
}

/** Everything that a cursor has seen: by topic, the place of all its partitions and those that stand further; `null` when it cannot be read. */
function ofCursor(cursor) {
  try {
    // What follows a tilde says how far the waiting messages have been sent.
    const read = reader(bytes(cursor.split('~')[0]));
    if (read.byte() !== 1) return null;
    read.skip(4);
    read.number();
    const seen = new Map();
    while (!read.ended()) {
      const topic = TOPICS[read.byte()];
      const whole = read.number();
      const further = new Map();
      for (let left = read.number(); left > 0; left--) {
        const partition = read.number();
        further.set(partition, whole + read.number());
      }
      seen.set(topic, { whole, further });
    }
    return seen;
  } catch {
    return null;
  }
}

/** What one cursor has seen beyond another: where the event of the frame between them stands. */
export function between(before, after) {
  const [earlier, later] = [ofCursor(before ?? ''), ofCursor(after ?? '')];
  const places = [];
  for (const [topic, { further }] of later ?? []) {
    const seen = earlier?.get(topic);
    for (const [partition, position] of further) {
      if (position > (seen?.further.get(partition) ?? seen?.whole ?? 0)) places.push({ topic, partition, position });
    }
  }
  return earlier ? places : [];
}
