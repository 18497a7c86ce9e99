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
];
const browser = await chromium.launch({
  executablePath,
  args,
  chromiumSandbox: process.getuid?.() !== 0,
});

let context;
let page;
let report;

const actions = {
  // A new profile for each page that is opened: no cookie of the last one stays.
  async open({ url, dark, size, scripts }) {
    await context?.close();
    context = await browser.newContext({
      colorScheme: dark ? "dark" : "light",
      viewport: size ?? { width: 1000, height: 760 },
      javaScriptEnabled: scripts ?? true,
    });
    page = await context.newPage();
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
  },
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
  evaluate: ({ code, argument }) => page.evaluate(`(${code})(${JSON.stringify(argument ?? null)})`),
  text: ({ selector }) => page.textContent(selector),
  async waitForText({ selector, text }) {
    await page.locator(selector).filter({ hasText: text }).waitFor();
  },
  waitFor: ({ selector }) => page.waitForSelector(selector).then(() => null),
  fill: ({ selector, text }) => page.fill(selector, text),
  click: ({ selector }) => page.click(selector),
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
