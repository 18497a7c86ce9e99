// Drives one Chromium for the tests: a JSON command a line on stdin, a JSON answer a line on
// stdout. It knows nothing of tunnels and judges nothing; what is right is decided in Python.

import { createRequire } from "node:module";
import readline from "node:readline";

const [, , modules, executablePath] = process.argv;
const { chromium } = createRequire(`${modules}/`)("playwright-core");

// Without these, Chromium looks for its maker's hosts at every start; root may have no sandbox.
const args = [
  "--disable-quic",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // A base host whose tunnels' hosts are of one site with it, as *.localhost are not.
  "--host-resolver-rules=MAP tunnel.test 127.0.0.1, MAP *.tunnel.test 127.0.0.1",
];
const browser = await chromium.launch({
  executablePath,
  args,
  chromiumSandbox: process.getuid?.() !== 0,
});

const tabs = new Map(); // a name to its page, profile and report
let context;
let page;
let report;

async function load(url) {
  report = { console: [], errors: [], failed: [], answers: [], loads: 0 };
  const mine = report;
  page.on("console", (message) => mine.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => mine.errors.push(String(error)));
  page.on("requestfailed", (request) => mine.failed.push(`${request.url()}: ${request.failure().errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) mine.answers.push(`${response.status()} ${response.url()}`);
  });
  page.on("load", () => mine.loads++);
  const response = await page.goto(url, { waitUntil: "load" });
  return { status: response.status(), url: page.url() };
}

// The page, or the frame in it whose URL holds the text; a frame may still be on its way.
async function within(text) {
  const deadline = Date.now() + 10000;
  while (text && Date.now() < deadline) {
    const frame = page.frames().find((each) => each !== page.mainFrame() && each.url().includes(text));
    if (frame) return frame;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (text) throw new Error(`no frame with ${text}: ${page.frames().map((each) => each.url())}`);
  return page;
}

const actions = {
  // A new profile for each page that is opened: no cookie of the last one stays.
  async open({ url, dark, size, scripts }) {
    for (const each of new Set([context, ...[...tabs.values()].map((tab) => tab.context)])) await each?.close();
    tabs.clear();
    context = await browser.newContext({
      colorScheme: dark ? "dark" : "light",
      viewport: size ?? { width: 1000, height: 760 },
      javaScriptEnabled: scripts ?? true,
    });
    page = await context.newPage();
    return load(url);
  },
  // One more tab beside those that stay: of the same profile, or of another visitor's.
  async visit({ url, name, stranger }) {
    if (stranger) context = await browser.newContext({ viewport: { width: 1000, height: 760 } });
    page = await context.newPage();
    const loaded = await load(url);
    tabs.set(name, { context, page, report });
    return loaded;
  },
  // The page of a later command; `name` is what the tab in front is called from now on.
  async leave({ name }) {
    tabs.set(name, { context, page, report });
  },
  async enter({ name }) {
    ({ context, page, report } = tabs.get(name));
    await page.bringToFront();
  },
  frames: () => page.frames().map((each) => each.url()),
  async drag({ start, end }) {
    await page.mouse.move(...start);
    await page.mouse.down();
    await page.mouse.move(...end, { steps: 8 });
    await page.mouse.up();
  },
  press: ({ key }) => page.keyboard.press(key),
  // The same page on another screen, or on paper.
  async show({ dark, size, paper }) {
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light", media: paper ? "print" : "screen" });
    if (size) await page.setViewportSize(size);
  },
  async reload() {
    const response = await page.reload({ waitUntil: "load" });
    return { status: response.status(), url: page.url() };
  },
  // `code` is the text of a function of one argument; it may be async.
  evaluate: async ({ code, argument, frame }) =>
    (await within(frame)).evaluate(`(${code})(${JSON.stringify(argument ?? null)})`),
  text: async ({ selector, frame }) => (await within(frame)).textContent(selector),
  async waitForText({ selector, text, frame, timeout }) {
    await (await within(frame)).locator(selector).filter({ hasText: text }).waitFor(timeout ? { timeout } : {});
  },
  waitFor: async ({ selector, frame }) => void (await (await within(frame)).waitForSelector(selector)),
  fill: async ({ selector, text, frame }) => (await within(frame)).fill(selector, text),
  click: async ({ selector, frame }) => (await within(frame)).click(selector),
  choose: ({ selector, path }) => page.setInputFiles(selector, path),
  cookies: () => context.cookies(),
  screenshot: async ({ path }) => void (await page.screenshot({ path })),
  report: () => ({ ...report, url: page.url() }),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { action, timeout_ms, ...options } = JSON.parse(line);
  let answer;
  try {
    page?.setDefaultTimeout(timeout_ms);
    answer = { value: (await actions[action](options)) ?? null };
  } catch (error) {
    answer = { error: String(error), report: { ...report, url: page?.url() } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
