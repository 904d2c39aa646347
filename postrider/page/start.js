// The first screen: registering, and signing in.

import { ask } from './api.js';

const at = (id) => document.getElementById(id);

/** Shows it, with a word about why, and calls `signedIn(session)` once somebody is. */
export function welcome({ why, second, signedIn }) {
  at('desk').hidden = true;
  at('start').hidden = false;
  document.title = 'Postrider';
  const { register, login, problem } = { register: at('register'), login: at('login'), problem: at('problem') };
  problem.textContent = why;
  const drawn = draw();
  register.elements.name.value = second ? 'Bob' : 'Ann';
  register.elements.email.value = `${second ? 'bob' : 'ann'}.${drawn.name}@example.org`;
  register.elements.password.value = drawn.password;

  const entering = (form, request) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      problem.textContent = '';
      const button = form.querySelector('button');
      button.disabled = true;
      try {
        const { path, body, name } = request(Object.fromEntries(new FormData(form)));
        const { body: answer } = await ask('POST', path, { body });
        const { user } = answer;
        at('start').hidden = true;
        signedIn({ id: user.id, email: user.email, name: name ?? user.full_name ?? user.username, token: answer.access_token });
      } catch (refused) {
        problem.textContent = refused.message;
      } finally {
        button.disabled = false;
      }
    };
  };
  entering(register, ({ name, email, password }) => ({
    path: '/auth/register',
    body: { email, password, username: username(name), full_name: name },
    name,
  }));
  entering(login, ({ email, password }) => ({ path: '/auth/login', body: { email, password } }));
  register.elements.name.focus();
}

function draw() {
  const letters = 'abcdefghijkmnpqrstuvwxyz23456789';
  const some = (count) => [...crypto.getRandomValues(new Uint8Array(count))].map((byte) => letters[byte % letters.length]).join('');
  return { name: some(6), password: some(16) };
}

/** Unique without asking: what is shown to people is their full name. */
function username(name) {
  const plain = name.normalize('NFKD').toLowerCase().replace(/[^a-z0-9]+/g, '').slice(0, 20);
  return `${plain || 'someone'}-${draw().name}`;
}
