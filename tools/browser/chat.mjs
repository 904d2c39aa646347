// Two people chat in a browser, on a page of another origin than the server's: with a reload, a time without network, a server that starts again, one that
// is killed, and a session that is revoked in between. Run by testkit/tests/testkit/browser.rs, which does with the server what is printed (`restart`; `freeze`;
// `kill`, and starts it again), and then answers with a line.
//
//   node chat.mjs MODULES PAGE-FOLDER PAGE-PORT SERVER-PORT

import { createInterface } from 'node:readline';

import { browser, must, servePage, until, Window } from './window.mjs';

const [modules, folder, pagePort, serverPort] = process.argv.slice(2);
const server = `http://localhost:${serverPort}`;
const origin = `http://localhost:${pagePort}`;
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const step = (what) => console.log(`- ${what}`);
/** Has done what only whoever started us can do. */
const outside = async (what) => {
  console.log(what);
  must(!(await answers.next()).done, `somebody does it: ${what}`);
};
const chromium = await browser(modules);
const listener = await servePage(folder, Number(pagePort), server);
const windows = [];

async function main() {
  const context = await chromium.newContext();
  const opened = (page, name) => {
    const window = new Window(page, name);
    windows.push(window);
    return window;
  };

  step('Ann registers');
  const ann = opened(await context.newPage(), 'Ann');
  await ann.page.goto(`${origin}/`);
  await ann.register();

  step('Bob registers in a second window of the same browser, and both see each other');
  const [page] = await Promise.all([context.waitForEvent('page'), ann.page.locator('#second').click()]);
  const bob = opened(page, 'Bob');
  await bob.register();
  must(bob.id !== ann.id, 'a second window is a second person');
  await bob.page.locator('#write').waitFor();
  for (const [window, other] of [[ann, 'Bob'], [bob, 'Ann']]) {
    await window.page.locator('#people button', { hasText: other }).locator('.presence[data-online=yes]').waitFor();
  }

  step('messages come the other way by HTTP, socket and relay, and are read');
  await bob.say('hello, Ann');
  await bob.reaches('hello, Ann', 'read');
  await ann.say('hello, Bob', 'socket');
  await ann.reaches('hello, Bob', 'read');
  await ann.say('grüß dich 🦀', 'relay');
  await ann.reaches('grüß dich 🦀', 'read');
  const said = ['hello, Ann', 'hello, Bob', 'grüß dich 🦀'];
  await ann.shows(said);
  await bob.shows(said);

  step('each message\'s journey stands beside it');
  const way = await bob.journey('hello, Ann', ['Answer 200', 'Event in the ledger', 'In the read model', 'Frame message_sent', 'Frame message_delivered', 'Frame message_read']);
  const place = (steps, title) => /messages\.events, partition \d+, position \d+/.exec(steps.slice(steps.indexOf(title)))?.[0];
  const arrival = await ann.journey('hello, Ann', ['Frame new_message', 'In the read model', 'Acknowledged', 'Read']);
  must(/cursor\s+\S+/.test(arrival), `the frame's cursor is shown: ${arrival}`);
  const places = [place(way, 'Event in the ledger'), place(way, 'Frame message_sent'), place(arrival, 'Frame new_message')];
  must(places[0] && places.every((one) => one === places[0]), `answer and frames say of one event where it stands: ${places} in ${way} and ${arrival}`);
  const spoken = await ann.journey('hello, Bob', ['Asked over the socket', 'Frame message_sent']);
  must(place(spoken, 'Frame message_sent'), `a cursor says where the event stands: ${spoken}`);

  step('typing is shown, and ends');
  await bob.page.locator('#text').pressSequentially('hm');
  await ann.page.getByText('Bob is typing…').waitFor();
  await bob.page.locator('#text').fill('');
  await ann.page.getByText('Bob is typing…').waitFor({ state: 'detached' });

  step('a reload loses and repeats nothing');
  await Promise.all([ann.page.reload(), bob.say('while you reload')]);
  await ann.connected();
  said.push('while you reload');
  await bob.reaches('while you reload', 'read');
  await ann.shows(said);
  await ann.say('said, and reloaded at once', 'socket');
  await ann.page.reload();
  await ann.connected();
  said.push('said, and reloaded at once');
  await ann.reaches('said, and reloaded at once', 'read');
  for (const window of [ann, bob]) await window.shows(said);

  step('without network nothing comes and nothing is lost');
  await ann.network(true);
  await ann.page.locator('#state[data-state=offline]').waitFor();
  await ann.say('written offline');
  await ann.say('for the socket', 'socket');
  for (const text of ['one', 'two', 'three']) {
    await bob.say(text);
    await bob.reaches(text, 'sent');
  }
  await bob.page.locator('#people .presence[data-online=no]').waitFor();
  must(!(await ann.texts()).includes('one'), 'nothing comes while the network is away');
  await ann.network(false);
  await ann.connected();
  await bob.reaches('three', 'read');
  await ann.reaches('written offline', 'read');
  await ann.reaches('for the socket', 'read');
  await until('Ann has all', async () => (await ann.texts()).length === said.length + 5);
  const now = await bob.texts();
  must(JSON.stringify(now) === JSON.stringify([...said, 'one', 'two', 'three', 'written offline', 'for the socket']), `Bob sees the order of the events: ${now}`);
  said.splice(0, said.length, ...now);

  step('whoever goes offline by choice finds what waited');
  await ann.page.locator('#offline').click();
  await bob.say('are you there?');
  await bob.reaches('are you there?', 'sent');
  await ann.page.locator('#offline').click();
  await bob.reaches('are you there?', 'read');
  said.push('are you there?');

  step('a server that starts again closes with 1012, and both are back by themselves');
  const connections = async (window) => (await window.frames()).filter((frame) => frame.type === 'connection_established').length;
  const before = [await connections(ann), await connections(bob)];
  await outside('restart');
  for (const [n, window] of [ann, bob].entries()) {
    await until(`${window.name} is back`, async () => (await connections(window)) > before[n]);
    await window.connected();
    must((await window.frames()).some((frame) => frame.closed === 1012), `${window.name} was told 1012`);
  }
  await bob.say('after the restart');
  await bob.reaches('after the restart', 'read');
  said.push('after the restart');
  await bob.shows(said);

  step('what a socket took and the server never had is sent again, after a reload as well');
  await outside('freeze');
  const written = { [ann.name]: 'Ann writes and reloads', [bob.name]: 'Bob writes and waits' };
  for (const window of [ann, bob]) {
    await window.say(written[window.name], 'socket');
    await window.journey(written[window.name], ['Asked over the socket']);
    await window.reaches(written[window.name], 'sending');
  }
  await bob.say('and then by HTTP');
  await ann.page.reload();
  await outside('kill');
  for (const window of [ann, bob]) {
    await window.connected();
    await window.reaches(written[window.name], 'read');
  }
  await bob.reaches('and then by HTTP', 'read');
  await ann.page.locator('#people button', { hasText: 'Bob' }).waitFor();
  const both = (await ann.texts()).slice(said.length);
  must(JSON.stringify([...both].sort()) === JSON.stringify([written.Ann, written.Bob, 'and then by HTTP']), `each of them came once: ${both}`);
  must(both.indexOf(written.Bob) < both.indexOf('and then by HTTP'), `what one person wrote stays in order: ${both}`);
  said.push(...both);
  for (const window of [ann, bob]) await window.shows(said);

  step('a deleted message goes on both sides');
  await bob.page.locator('#messages .bubble', { hasText: 'after the restart' }).click();
  await bob.page.locator('#delete').click();
  for (const window of [ann, bob]) await window.page.locator('#messages li.gone').waitFor();

  step('the cookie is the browser\'s: unreadable for scripts, good for few routes, not for other origins');
  const seen = await bob.page.evaluate(async ({ server, email, password }) => {
    const ask = (path, more) => fetch(`${server}/api/v1${path}`, { credentials: 'include', ...more }).then((answer) => answer.status, (error) => error.name);
    const body = JSON.stringify({ email, password });
    const login = await ask('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    return { login, cookies: document.cookie, search: await ask('/users/search?q=ann'), me: await ask('/auth/me') };
  }, { server, email: bob.email, password: bob.password });
  must(JSON.stringify(seen) === JSON.stringify({ login: 200, cookies: '', search: 200, me: 401 }), `the cookie is kept, and used where it may be: ${JSON.stringify(seen)}`);
  const stranger = await context.newPage();
  await stranger.goto(`http://127.0.0.1:${pagePort}/`);
  const refused = await stranger.evaluate((server) => fetch(`${server}/api/v1/users/search?q=ann`, { credentials: 'include' }).then((answer) => answer.status, (error) => error.name), server);
  must(refused === 'TypeError', `a page of an origin that is not allowed reads nothing: ${refused}`);
  await stranger.close();

  step('a revoked session ends its window at once, with 4001, and no other');
  const again = await (await fetch(`${server}/api/v1/auth/login`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ email: ann.email, password: ann.password }),
  })).json();
  const revoked = await fetch(`${server}/api/v1/auth/sessions`, { method: 'DELETE', headers: { Authorization: `Bearer ${again.access_token}` } });
  must(revoked.status === 204, `the other sessions end: ${revoked.status}`);
  await ann.page.locator('#start').waitFor({ timeout: 3_000 });
  must((await ann.page.locator('#problem').textContent()).includes('session has ended'), 'it says why');
  must((await ann.frames())[0].closed === 4001, 'the close code was 4001');
  await bob.say('alone');
  await bob.reaches('alone', 'sent');

  step('signed in again, everything is there');
  await ann.page.locator('#known summary').click();
  await ann.page.locator('#login input[name=email]').fill(ann.email);
  await ann.page.locator('#login input[name=password]').fill(ann.password);
  await ann.page.locator('#login input[name=password]').press('Enter');
  await ann.connected();
  await ann.page.locator('#people button', { hasText: 'Bob' }).click();
  await ann.shows([...said.filter((text) => text !== 'after the restart'), 'alone']);
  await bob.reaches('alone', 'read');

  step('the page that comes from the server itself works under its own policy');
  const own = opened(await (await chromium.newContext()).newPage(), 'Eve');
  await own.page.goto(`${server}/`);
  await own.register();

  const errors = windows.flatMap((window) => window.errors);
  must(errors.length === 0, `no script failed and no policy was broken: ${errors.join('\n')}`);
}

try {
  await main();
  console.log('all is well');
} catch (error) {
  console.log(`FAILED: ${error.stack}`);
  for (const window of windows) {
    console.log(`${window.name} shows: ${await window.page.locator('body').innerText().catch(() => 'nothing')}`);
    console.log(`${window.name}'s frames, newest first: ${JSON.stringify((await window.frames().catch(() => [])).slice(0, 15))}`);
    console.log(window.errors.join('\n'));
  }
  process.exitCode = 1;
} finally {
  await chromium.close();
  listener.close();
  process.stdin.destroy();
}
