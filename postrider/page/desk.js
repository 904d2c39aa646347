// What a signed-in person has before them: people, one conversation, and the journey of a message. Everything that happens passes through here.

import { ask, newId, Refused } from './api.js';
import { opened, sealed } from './content.js';
import { Journeys, ms } from './journey.js';
import { Live } from './live.js';
import { View } from './view.js';

/** How long "is typing" is believed, and after how long of silence we take it back. */
const TYPING = 5_000;
const STOPPED = 3_000;
const SHOWN = 200;
/** How long a message that was said over the socket waits for its answer before it is said again. */
const ANSWERED = 10_000;
/** What an `error` frame says when it is not about the message, but about the moment: over HTTP these are 429 and 503. */
const PASSING = new Set(['rate_limited', 'unavailable', 'database_unavailable', 'auth_unavailable', 'projection_behind']);

export class Desk {
  #session; #told; #live; #view; #journeys;
  /** By user id: `{id, name, email, online, unread, messages: Map}`; a message: `{id, mine, text, at, state, gone, problem}`. */
  #people = new Map();
  #peer = null; #chosen = null; #isTyping = false; #typingTold = 0; #typingTimer = 0; #shownTyping = 0; #checks = 0;
  /** Sends without an answer yet, in order; each goes again under its own id until it gets one, after a reload as well. */
  #outbox = []; #sending = false; #retry = 0;
  /** The one of them that was said over the socket and has no answer yet: `{id, answer}`. */
  #asked = null;
  #loaded = false;

  constructor(session, told) {
    this.#session = session;
    this.#told = told;
    this.#view = new View(session, {
      choosePeer: (id) => this.#openPeer(id), chooseMessage: (id) => this.#choose(id), send: (text, via) => this.#send(text, via),
      typing: (is) => this.#type(is), add: (email) => this.#add({ contact_email: email }), remove: () => this.#remove(),
      offline: (is) => this.#goOffline(is), leave: () => this.#leave(), seen: () => this.#read(),
    });
    this.#journeys = new Journeys((id) => { if (id === this.#chosen) this.#showJourney(); });
    this.#live = new Live(session, session.cursor, {
      frame: (frame, before) => this.#hear(frame, before),
      sent: (frame) => this.#view.frame('out', frame),
      closed: (code, reason) => this.#view.frame('in', { closed: code, reason }),
      state: (name, words) => {
        this.#view.state(name, words);
        // What has not been answered by now never will be on this connection.
        if (name !== 'live') this.#asked?.answer(null);
      },
      ended: () => this.#ended('Your session has ended: it was signed out, or has expired.'),
    });
  }

  async open() {
    this.#view.open();
    this.#outbox = this.#session.outbox ?? [];
    for (const { id, to, text } of this.#outbox) this.#put(to, { id, mine: true, text, at: Date.now(), state: 'sending' });
    // Through REST first: what the socket then says is newer.
    await this.#reload();
    if (!this.#live) return;
    this.#live.start();
    const { invitedBy } = this.#told;
    if (invitedBy && invitedBy !== this.#session.id && !this.#people.has(invitedBy)) await this.#add({ contact_id: invitedBy });
    else this.#openFirst();
  }

  #openFirst() { this.#openPeer(this.#peer ?? this.#session.peer ?? [...this.#people.keys()][0]); }

  #ask(method, path, more = {}) {
    return ask(method, path, { token: this.#session.token, ...more }).catch((refused) => {
      if (refused.status === 401) this.#ended('Your session has ended: it was signed out, or has expired.');
      throw refused;
    });
  }

  #ended(why) {
    if (!this.#live) return;
    this.#live.stop('signed out');
    this.#live = null;
    clearTimeout(this.#retry);
    this.#view.close();
    this.#told.left(why);
  }

  async #leave() {
    await this.#ask('POST', '/auth/logout', { body: {} }).catch(() => {});
    this.#ended('');
  }

  // People.

  #person(id, more = {}) {
    const known = this.#people.get(id) ?? { id, name: id.slice(0, 8), online: false, unread: 0, messages: new Map() };
    Object.assign(known, more);
    this.#people.set(id, known);
    return known;
  }

  async #reload() {
    try {
      const [contacts, inbox] = await Promise.all([this.#ask('GET', '/contacts'), this.#ask('GET', '/messages/conversations?limit=50')]);
      for (const row of contacts.body) {
        this.#person(row.contact_id, { name: row.nickname ?? row.contact_full_name ?? row.contact_username ?? 'somebody', email: row.contact_email, online: row.is_online });
      }
      for (const row of inbox.body) {
        this.#person(row.user_id, { unread: row.unread_count, ...(row.full_name || row.username ? { name: row.full_name ?? row.username } : {}) });
      }
      if (this.#peer) await this.#history(this.#peer);
      this.#loaded = true;
      this.#view.problem('');
    } catch (refused) {
      this.#view.problem(refused.message);
    }
    this.#showPeople();
  }

  async #history(id) {
    const { messages } = this.#person(id);
    const before = [...messages.values()].filter((message) => message.state !== 'sending');
    const { body } = await this.#ask('GET', `/messages/conversation/${id}?limit=${SHOWN}`);
    const stands = new Set(body.map((row) => row.id));
    // What a frame has brought meanwhile may be newer than the answer.
    for (const message of before) if (!stands.has(message.id) && !message.gone) messages.delete(message.id);
    for (const row of body) {
      const mine = row.sender_id === this.#session.id;
      const state = row.is_read ? 'read' : row.delivered_at ? 'delivered' : 'sent';
      if (!messages.has(row.id)) this.#journeys.step(row.id, 'Read from history', { request: 'GET /messages/conversation', 'read model': 'conversations' });
      this.#put(id, { id: row.id, mine, text: opened(row), at: Date.parse(row.created_at), state });
    }
    if (id === this.#peer) this.#showMessages();
  }

  async #add(whom) {
    this.#view.problem('');
    try {
      const { body } = await this.#ask('POST', '/contacts/add', { body: whom });
      this.#person(body.contact_id, { name: body.contact_full_name ?? body.contact_username, email: body.contact_email, online: body.is_online });
      this.#openPeer(body.contact_id);
    } catch (refused) {
      this.#view.problem(refused.message);
    }
  }

  #openPeer(id) {
    if (!id || !this.#people.has(id)) return;
    const other = id !== this.#peer;
    this.#peer = id;
    this.#told.keep({ peer: id });
    this.#showPeople();
    this.#showMessages();
    if (other) {
      this.#history(id).then(() => this.#read()).catch((refused) => this.#view.problem(refused.message));
      const newest = [...this.#people.get(id).messages.keys()].at(-1);
      this.#choose(newest ?? null);
      this.#view.typing('');
      this.#view.write();
    }
  }

  // Messages.

  #put(peer, message) {
    const { messages } = this.#person(peer);
    const known = messages.get(message.id);
    // What has been read is not merely delivered again.
    const rank = ['failed', 'sending', 'sent', 'delivered', 'read'];
    if (known && rank.indexOf(message.state) < rank.indexOf(known.state)) delete message.state;
    messages.set(message.id, Object.assign(known ?? {}, message));
    return !known;
  }

  #find(id) {
    for (const person of this.#people.values()) {
      const message = person.messages.get(id);
      if (message) return { person, message };
    }
    return {};
  }

  #send(text, via) {
    const id = newId();
    this.#type(false);
    this.#put(this.#peer, { id, mine: true, text, at: Date.now(), state: 'sending' });
    this.#journeys.step(id, 'Written', { 'message id': id });
    this.#outbox.push({ id, to: this.#peer, text, via });
    this.#told.keep({ outbox: this.#outbox });
    this.#choose(id);
    this.#showMessages();
    this.#flush();
  }

  /** One after another, so that they stay in order; without a connection they wait, and go under the same ids. */
  async #flush() {
    clearTimeout(this.#retry);
    if (this.#sending || this.#view.isOffline) return;
    this.#sending = true;
    while (this.#outbox.length > 0 && this.#live && !this.#view.isOffline) {
      const outcome = await this.#post(this.#outbox[0]);
      if (!this.#live) break;
      if (outcome === 'later') {
        this.#retry = setTimeout(() => this.#flush(), 1_000);
        break;
      }
      this.#outbox.shift();
      this.#told.keep({ outbox: this.#outbox });
    }
    this.#sending = false;
  }

  async #post(next) {
    const { id, to, text, via } = next;
    const body = { message_id: id, recipient_id: to, ...sealed(text) };
    if (via === 'socket') return this.#say(next, body);
    const path = via === 'relay' ? '/relay/send' : '/messages/send';
    try {
      const answer = await this.#ask('POST', path, { body });
      const token = this.#journeys.answered(id, `POST ${path}`, answer);
      // The order is that of the events, not of writing.
      this.#put(to, { id, state: 'sent', ...(answer.body.created_at ? { at: Date.parse(answer.body.created_at) } : {}) });
      this.#showMessages();
      this.#check(id, to, token);
      return 'sent';
    } catch (refused) {
      const later = refused.status === 0 || refused.status === 503 || refused.status === 429;
      return this.#notSent(next, refused.status, refused.message, later);
    }
  }

  /** That a socket took it says nothing: sent is what `message_sent` has come for. Said again it gets the same answer, and stays one message. */
  async #say(next, body) {
    const { id } = next;
    if (!this.#live.send('message', body)) return 'later';
    this.#journeys.step(id, 'Asked over the socket', { frame: 'message' }, { once: true });
    let silence;
    const frame = await new Promise((answer) => {
      this.#asked = { id, answer };
      silence = setTimeout(answer, ANSWERED, null);
    });
    clearTimeout(silence);
    this.#asked = null;
    if (frame?.type === 'message_sent') return 'sent';
    return this.#notSent(next, frame?.code, frame?.detail ?? 'No answer came over the socket', !frame || PASSING.has(frame.code));
  }

  #notSent({ id, to }, what, why, later) {
    this.#journeys.step(id, later ? 'No answer yet' : `Refused (${what})`, { why, then: later ? 'sent again under the same id' : '' }, { bad: true, once: later });
    if (later) return 'later';
    const message = this.#person(to).messages.get(id);
    if (message?.state === 'sending') Object.assign(message, { state: 'failed', problem: why });
    this.#showMessages();
    return 'refused';
  }

  /** Reads the conversation, as of the event: shows that the read model holds it, and after how long. */
  async #check(id, peer, consistency) {
    if (this.#checks > 2) return;
    this.#checks += 1;
    try {
      const answer = await this.#ask('GET', `/messages/conversation/${peer}?limit=20`, { consistency });
      if (answer.body.some((row) => row.id === id)) {
        this.#journeys.step(id, 'In the read model', { 'read model': 'conversations', request: 'GET /messages/conversation', took: ms(answer.ms) }, { once: true });
      }
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
    } finally {
      this.#checks -= 1;
    }
  }

  async #remove() {
    const id = this.#chosen;
    try {
      this.#journeys.answered(id, 'DELETE /messages', await this.#ask('DELETE', `/messages/${id}`));
    } catch (refused) {
      this.#journeys.step(id, 'Not deleted', { why: refused.message }, { bad: true });
    }
  }

  /** What the open conversation shows has been read, once somebody can see it. */
  #read() {
    if (document.visibilityState !== 'visible' || !this.#peer) return;
    const person = this.#people.get(this.#peer);
    for (const message of person.messages.values()) {
      if (message.mine || message.gone || message.state === 'read') continue;
      if (!this.#live?.send('read', { message_id: message.id, sender_id: person.id })) return;
      message.state = 'read';
      this.#journeys.step(message.id, 'Read', { frame: 'read, to the server' });
    }
    person.unread = 0;
    this.#showPeople();
  }

  #type(is) {
    clearTimeout(this.#typingTimer);
    if (!this.#peer || (!is && !this.#isTyping)) return;
    const since = Date.now() - this.#typingTold;
    // The server tells of it once a second: whoever begins again sooner says so when it is heard.
    if (is && !this.#isTyping && since < 1_100) {
      this.#typingTimer = setTimeout(() => this.#type(true), 1_100 - since);
      return;
    }
    if ((!is || !this.#isTyping || since > 1_500) && this.#live?.send('typing', { recipient_id: this.#peer, is_typing: is })) {
      this.#isTyping = is;
      if (is) this.#typingTold = Date.now();
    }
    if (is) this.#typingTimer = setTimeout(() => this.#type(false), STOPPED);
  }

  #goOffline(is) {
    if (is) this.#live.stop();
    else {
      this.#live.start();
      this.#flush();
    }
  }

  // Frames.

  #hear(frame, before) {
    this.#view.frame('in', frame);
    if (frame.cursor) this.#told.keep({ cursor: frame.cursor });
    const { message_id: id } = frame;
    switch (frame.type) {
      case 'connection_established':
        for (const person of this.#people.values()) person.online = frame.online_users.includes(person.id);
        this.#showPeople();
        if (!this.#loaded) this.#reload().then(() => { if (this.#live) this.#openFirst(); });
        this.#flush();
        this.#read();
        break;
      case 'resume_reset': this.#reload(); break;
      case 'new_message': this.#received(id, frame, frame.timestamp, frame, before); break;
      case 'relay_message': this.#received(frame.data.id, frame.data, frame.data.created_at, frame, before); break;
      case 'message_sent':
        this.#moved(frame, before, 'sent');
        if (id === this.#asked?.id) this.#asked.answer(frame);
        break;
      case 'message_delivered': this.#moved(frame, before, 'delivered'); break;
      case 'message_read': this.#moved(frame, before, 'read'); break;
      case 'message_deleted': this.#deleted(frame, before); break;
      case 'contact_added':
        this.#person(frame.contact_id, { name: frame.full_name ?? frame.username, email: frame.email, online: frame.is_online });
        if (!this.#peer) this.#openPeer(frame.contact_id);
        this.#showPeople();
        break;
      case 'user_online': case 'user_offline':
        if (this.#people.has(frame.user_id)) this.#person(frame.user_id, { online: frame.type === 'user_online' });
        this.#showPeople();
        break;
      case 'typing': this.#peerTypes(frame); break;
      case 'error': this.#refused(frame); break;
    }
  }

  #received(id, message, timestamp, frame, before) {
    const from = message.sender_id;
    const isNew = this.#put(from, { id, mine: from === this.#session.id, text: opened(message), at: Date.parse(timestamp), state: 'delivered' });
    const late = Date.now() - Date.parse(timestamp);
    this.#journeys.frame(id, frame, before, { ...(late >= 0 && late < 60_000 ? { 'after the event': ms(late) } : {}) });
    this.#live.send('delivery_confirmation', { message_id: id, sender_id: from });
    this.#journeys.step(id, 'Acknowledged', { frame: 'delivery_confirmation, to the server', then: 'it leaves the queue' }, { once: true });
    if (!isNew) return;
    const person = this.#people.get(from);
    if (!person.email && from !== this.#session.id) this.#named(from);
    if (from === this.#peer) {
      this.#view.typing('');
      this.#check(id, from);
      this.#choose(id);
      if (document.visibilityState !== 'visible') person.unread += 1;
      this.#read();
      this.#showMessages();
    } else {
      person.unread += 1;
      if (!this.#peer) this.#openPeer(from);
    }
    this.#showPeople();
  }

  /** Somebody writes whom we do not know by name. */
  async #named(id) {
    const answer = await this.#ask('GET', `/users/${id}`).catch(() => null);
    if (answer) this.#person(id, { name: answer.body.full_name ?? answer.body.username, email: answer.body.email });
    this.#showPeople();
    this.#showMessages();
  }

  #moved(frame, before, state) {
    const { person, message } = this.#find(frame.message_id);
    this.#journeys.frame(frame.message_id, frame, before);
    if (!message) return;
    this.#put(person.id, { id: message.id, state, ...(state === 'sent' ? { at: Date.parse(frame.timestamp) } : {}) });
    if (frame.up_to) for (const other of person.messages.values()) if (other.mine && other.id <= message.id && !other.gone) other.state = 'read';
    if (state === 'sent') this.#check(message.id, person.id);
    this.#showMessages();
  }

  #deleted(frame, before) {
    const { message } = this.#find(frame.message_id);
    this.#journeys.frame(frame.message_id, frame, before);
    if (!message) return;
    Object.assign(message, { gone: true, text: 'deleted' });
    this.#showMessages();
    this.#showJourney();
  }

  #peerTypes(frame) {
    if (frame.sender_id !== this.#peer) return;
    clearTimeout(this.#shownTyping);
    this.#view.typing(frame.is_typing ? `${this.#people.get(this.#peer).name} is typing…` : '');
    this.#shownTyping = setTimeout(() => this.#view.typing(''), TYPING);
  }

  #refused(frame) {
    const { message } = this.#find(frame.client_id);
    if (!message) this.#view.problem(frame.detail);
    else if (message.id === this.#asked?.id) this.#asked.answer(frame);
    else this.#journeys.step(message.id, `Refused (${frame.code})`, { why: frame.detail }, { bad: true });
  }

  // Showing.

  #choose(id) {
    this.#chosen = id;
    this.#showJourney();
    this.#view.chosen(id);
  }

  #showPeople() { this.#view.people([...this.#people.values()], this.#peer); }

  #showMessages() {
    if (!this.#peer) return;
    const person = this.#people.get(this.#peer);
    const messages = [...person.messages.values()].sort((one, other) => one.at - other.at);
    this.#view.messages(person, messages, this.#chosen);
  }

  #showJourney() {
    const { message } = this.#find(this.#chosen);
    this.#view.journey(message, this.#chosen ? this.#journeys.of(this.#chosen) : []);
  }
}
