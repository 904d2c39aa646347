// Chromium, a server for the page on an origin of its own, and one window of the page with what a person does in it.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { basename, extname, join } from 'node:path';

/** How long anything may take that must come. */
export const PATIENCE = 15_000;

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** A browser without a profile, which asks nobody but us. */
export async function browser(modules) {
  const { chromium } = createRequire(`${modules}/`)('playwright-core');
  const executablePath = BROWSERS.find((path) => existsSync(path));
  if (!executablePath) throw new Error(`none of ${BROWSERS.join(', ')} is there: script/setup --test installs one`);
  return chromium.launch({ executablePath, args: FLAGS });
}

/** Serves the page's files, told that the interface is elsewhere. */
export async function servePage(folder, port, server) {
  const types = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript' };
  const listener = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const name = pathname === '/' ? 'index.html' : basename(pathname);
    try {
      let content = await readFile(join(folder, name), 'utf8');
      if (name === 'index.html') content = content.replace('<meta name="server" content="">', `<meta name="server" content="${server}">`);
      response.writeHead(200, { 'Content-Type': `${types[extname(name)]}; charset=utf-8` }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => listener.listen(port, '127.0.0.1', resolve));
  return listener;
}

/** Asks until the answer is a true one. */
export async function until(what, question, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${patience} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function must(holds, what) {
  if (!holds) throw new Error(`it does not hold that ${what}`);
}

/** Somebody's window. */
export class Window {
  constructor(page, name) {
    this.page = page;
    this.name = name;
    this.errors = [];
    page.on('pageerror', (error) => this.errors.push(`${name}: ${error.stack}`));
    page.on('console', (message) => {
      // A request that is refused is the page's to say; a policy that is broken, or a script, is ours.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource') && !/WebSocket connection to|net::ERR_/.test(message.text())) this.errors.push(`${name}: ${message.text()}`);
    });
  }

  /** Registers under the name that is given, by keyboard; keeps what is needed to sign in again. */
  async register() {
    const { page } = this;
    await page.locator('#register input[name=name]').fill(this.name);
    this.email = await page.locator('#register input[name=email]').inputValue();
    this.password = await page.locator('#register input[name=password]').inputValue();
    await page.locator('#register input[name=name]').press('Enter');
    await this.connected();
    const kept = JSON.parse(await page.evaluate(() => sessionStorage.getItem('postrider')));
    this.id = kept.id;
    this.token = kept.token;
  }

  connected() { return this.page.locator('#state[data-state=live]').waitFor({ timeout: PATIENCE }); }

  async say(text, via = 'http') {
    await this.page.locator('#via').selectOption(via);
    await this.page.locator('#text').fill(text);
    await this.page.locator('#text').press('Enter');
  }

  /** All texts of the conversation, as they stand there. */
  texts() { return this.page.locator('#messages .bubble').allTextContents(); }

  /** Waits until exactly these stand there. */
  async shows(texts) {
    const wanted = JSON.stringify(texts);
    let last;
    await until(`${this.name} sees ${wanted}`, async () => (last = JSON.stringify(await this.texts())) === wanted)
      .catch((error) => { throw new Error(`${error.message}; there stands ${last}`); });
  }

  /** Waits until a message has come so far: sent, delivered, read. */
  reaches(text, state) {
    return this.page.locator(`#messages li[data-state=${state}]`, { hasText: text }).waitFor({ timeout: PATIENCE });
  }

  /** The titles of a message's journey, after they are all there. */
  async journey(text, titles) {
    await this.page.locator('#messages .bubble', { hasText: text }).click();
    let steps = [];
    await until(`${this.name} sees the journey ${titles.join(', ')} of ${text}`, async () => {
      steps = await this.page.locator('#steps .step span').allTextContents();
      return titles.every((title) => steps.includes(title));
    }).catch((error) => { throw new Error(`${error.message}; it is ${steps.join(', ')}`); });
    return this.page.locator('#steps').innerText();
  }

  /** Everything that came over the socket, newest first; `closed` stands for its end. */
  async frames() {
    const lines = await this.page.locator('#frames .in').allTextContents();
    return lines.map((line) => JSON.parse(line.slice(2)));
  }

  /** This window alone loses, or gets back, its network. */
  async network(offline) {
    this.wire ??= await this.page.context().newCDPSession(this.page);
    await this.wire.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  }
}
