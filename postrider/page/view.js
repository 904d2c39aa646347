// The desk on the screen. Knows elements, and nothing of what they mean; text from others is only ever set as text.

const at = (id) => document.getElementById(id);
const MOST_FRAMES = 200;
const STATES = { sending: 'on its way', sent: '✓ sent', delivered: '✓✓ delivered', read: '✓✓ read', failed: 'refused' };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export class View {
  #act; #session; #items = new Map(); #shownPeer = null; #frames = 0;

  constructor(session, act) {
    this.#session = session;
    this.#act = act;
  }

  open() {
    const { id, name, email } = this.#session;
    at('start').hidden = true;
    at('desk').hidden = false;
    document.title = `${name} · Postrider`;
    at('me').textContent = name;
    at('me').title = email;
    at('second').href = `/#with=${id}`;
    at('second').onclick = (event) => this.#secondWindow(event);
    at('offline').onclick = () => {
      const is = !this.isOffline;
      at('offline').setAttribute('aria-pressed', String(is));
      this.#act.offline(is);
    };
    at('offline').setAttribute('aria-pressed', 'false');
    at('leave').onclick = () => this.#act.leave();
    at('delete').onclick = () => this.#act.remove();
    at('add').onsubmit = (event) => {
      event.preventDefault();
      this.#act.add(at('add').elements.email.value);
      at('add').reset();
    };
    at('write').onsubmit = (event) => {
      event.preventDefault();
      const text = at('text').value.trim();
      if (text) this.#act.send(text, at('via').value);
      at('text').value = '';
    };
    at('text').oninput = () => this.#act.typing(at('text').value !== '');
    document.onvisibilitychange = () => this.#act.seen();
    for (const list of ['people', 'messages']) at(list).onkeydown = byArrows;
    for (const list of ['people', 'messages', 'steps', 'frames']) at(list).replaceChildren();
    this.#items.clear();
    this.people([], null);
    this.journey(undefined, []);
    at('write').hidden = true;
    at('peer').textContent = 'Nobody yet';
    this.#count(0);
  }

  close() {
    document.onvisibilitychange = null;
    at('desk').hidden = true;
  }

  get isOffline() { return at('offline').getAttribute('aria-pressed') === 'true'; }

  /** Beside this one, with a session of its own; as a tab where a window is not allowed, or asked for by the keyboard's own ways. */
  #secondWindow(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const half = Math.floor(screen.availWidth / 2);
    window.open(at('second').href, '_blank', `popup,noopener,left=${half},top=0,width=${half},height=${screen.availHeight}`);
    event.preventDefault();
  }

  state(name, words) {
    at('state').dataset.state = name;
    at('state').textContent = words;
  }

  problem(words) { at('add-problem').textContent = words; }
  typing(words) { at('typing').textContent = words; }
  write() { at('text').focus(); }

  people(people, peer) {
    const focused = document.activeElement?.dataset?.person;
    at('people').replaceChildren(...people.map((person) => {
      const button = element('button', { type: 'button', onclick: () => this.#act.choosePeer(person.id) }, person.name);
      button.dataset.person = person.id;
      if (person.id === peer) button.setAttribute('aria-current', 'true');
      if (person.unread > 0) button.prepend(element('span', { className: 'unread', ariaLabel: `${person.unread} unread` }, String(person.unread)));
      const presence = element('span', { className: 'presence' }, person.online ? 'online' : 'offline');
      presence.dataset.online = person.online ? 'yes' : 'no';
      button.append(presence);
      return element('li', {}, button);
    }));
    if (focused) at('people').querySelector(`[data-person="${focused}"]`)?.focus({ preventScroll: true });
    at('alone').hidden = people.length > 0;
  }

  messages(person, messages, chosen) {
    const list = at('messages');
    if (this.#shownPeer !== person.id) {
      list.replaceChildren();
      this.#items.clear();
      this.#shownPeer = person.id;
    }
    at('peer').textContent = person.name;
    at('write').hidden = false;
    const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    const stands = new Set(messages.map((message) => message.id));
    for (const [id, item] of this.#items) if (!stands.has(id)) { item.remove(); this.#items.delete(id); }
    messages.forEach((message, index) => {
      let item = this.#items.get(message.id);
      if (!item) {
        const bubble = element('button', { type: 'button', className: 'bubble', onclick: () => this.#act.chooseMessage(message.id) });
        item = element('li', {}, bubble, element('span', { className: 'meta' }));
        item.dataset.message = message.id;
        this.#items.set(message.id, item);
      }
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
      this.#fill(item, message);
    });
    this.chosen(chosen);
    if (wasAtEnd) list.scrollTop = list.scrollHeight;
  }

  #fill(item, message) {
    const [bubble, meta] = item.children;
    item.className = [message.mine ? 'mine' : 'theirs', message.gone ? 'gone' : ''].join(' ').trim();
    if (bubble.textContent !== message.text) bubble.textContent = message.text;
    const time = new Date(message.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const words = [time];
    if (message.mine && !message.gone) words.push(STATES[message.state] ?? '');
    if (message.problem) words.push(message.problem);
    meta.textContent = words.join(' · ');
    meta.className = message.mine && message.state === 'read' ? 'meta read' : 'meta';
    item.dataset.state = message.state;
  }

  chosen(id) {
    // One stop for the tabulator; the arrows go on from there.
    const stop = this.#items.has(id) ? id : [...this.#items.keys()].at(-1);
    for (const [key, item] of this.#items) {
      item.firstChild.setAttribute('aria-pressed', String(key === id));
      item.firstChild.tabIndex = key === stop ? 0 : -1;
    }
  }

  journey(message, steps) {
    at('journey-title').textContent = message ? `Journey of “${short(message.text)}”` : 'Journey';
    at('journey-none').hidden = Boolean(message);
    const focused = document.activeElement === at('delete');
    at('delete').hidden = !message?.mine || Boolean(message.gone) || message.state === 'sending' || message.state === 'failed';
    if (focused && at('delete').hidden) this.write();
    const list = at('steps');
    if (list.dataset.of !== (message?.id ?? '')) {
      list.replaceChildren();
      list.dataset.of = message?.id ?? '';
    }
    for (const step of steps.slice(list.children.length)) list.append(stepItem(step));
  }

  frame(direction, frame) {
    const item = element('li', { className: direction }, `${direction === 'in' ? '←' : '→'} ${JSON.stringify(frame)}`);
    at('frames').prepend(item);
    if (at('frames').children.length > MOST_FRAMES) at('frames').lastChild.remove();
    this.#count(this.#frames + 1);
  }

  #count(frames) {
    this.#frames = frames;
    at('wire-count').textContent = frames ? `(${frames})` : '';
  }
}

function stepItem(step) {
  const facts = element('dl');
  for (const [name, value] of Object.entries(step.facts)) {
    if (value) facts.append(element('dt', {}, name), element('dd', { className: 'value' }, value));
  }
  const time = element('time', {}, `+${step.at < 10 ? step.at.toFixed(1) : Math.round(step.at)} ms`);
  return element('li', { className: step.bad ? 'bad' : '' }, element('div', { className: 'step' }, element('span', {}, step.title), time), facts);
}

/** From one button of a list to the next, or to its ends. */
function byArrows(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const buttons = [...event.currentTarget.querySelectorAll('button')];
  const here = buttons.indexOf(document.activeElement);
  const there = { ArrowUp: here - 1, ArrowDown: here + 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (here < 0 || there === undefined) return;
  event.preventDefault();
  buttons[there]?.focus();
}

function short(text) {
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
}
