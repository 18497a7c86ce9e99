// The owner's bar: shows one session as the event stream tells it, and sends what its owner does.
// It runs on the gateway's base host, in a frame of the owner's page or in a tab of its own. The
// page around it learns the bar's size and where it was dragged, and nothing else.
"use strict";

const WIDTH_PX = 344;
const STEP_PX = 24; // of one arrow key
const STILL_PX = 4; // a pointer that moved less has clicked
const DEADLINE_MS = 15000; // for an answer to an action
const RETRY_MS = [1000, 30000]; // the first and the longest pause before it asks again
const ARMED_MS = 4000; // how long a second click counts as the answer to "sure?"
const MEMORY = "wormkey-bar";

const $ = (id) => document.getElementById(id);
const slug = new URLSearchParams(location.search).get("slug") ?? "";
const at = (path, more = "") => `/.wormkey/${path}?slug=${encodeURIComponent(slug)}${more}`;
const framed = window.parent !== window;

let state = null; // as last told
let phase = "asking"; // then "owner", "stranger" or "over"
let events = null;
let retries = 0;
let retry = 0;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text; // screen readers hear changes only
}

const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// ── where it is, and how large: the page around holds the frame ───────────────────────────────

const around = new Set([location.origin, `${location.protocol}//${slug}.${location.host}`]);
let shell = ""; // the origin of the page around, once it has spoken
let known = false; // that page was told that its visitor is the owner
let memory = {};
try {
  memory = JSON.parse(localStorage.getItem(MEMORY)) ?? {};
} catch {
  // Nothing is remembered where storage is shut.
}

function remember(what) {
  Object.assign(memory, what);
  try {
    localStorage.setItem(MEMORY, JSON.stringify(memory));
  } catch {
    // As above.
  }
}

const tell = (what) => shell && parent.postMessage({ wormkey: what }, shell);

addEventListener("message", (event) => {
  const said = event.data?.wormkey;
  if (!framed || event.source !== parent || !around.has(event.origin) || !said) return;
  if ("known" in said) {
    shell = event.origin;
    known = said.known === true;
    tell({ spot: memory.spot });
    measure();
  }
  if (said.spot) remember({ spot: said.spot });
});

function measure() {
  if (phase !== "owner" && !known) return; // strangers see nothing
  const [head, panel] = [$("head"), $("panel")];
  const folded = panel.hidden;
  const height = head.offsetHeight + (folded ? 0 : panel.scrollHeight + 1); // its border
  tell({ size: [folded ? head.offsetWidth : WIDTH_PX, height] });
}

function fold(folded) {
  document.body.classList.toggle("folded", folded);
  $("panel").hidden = folded;
  $("fold").setAttribute("aria-expanded", String(!folded));
  $("fold").setAttribute("aria-label", folded ? "Show the controls" : "Hide the controls");
  if (folded) hideSecret();
  measure();
}

function toggle() {
  remember({ folded: !$("panel").hidden });
  fold(memory.folded);
}

let grabbed = null;

$("head").addEventListener("pointerdown", (event) => {
  if (!framed || event.button !== 0 || event.target.closest("#fold")) return;
  $("head").setPointerCapture(event.pointerId);
  $("head").classList.add("held");
  grabbed = { x: event.screenX, y: event.screenY, far: 0 };
});
$("head").addEventListener("pointermove", (event) => {
  if (!grabbed) return;
  const by = [event.screenX - grabbed.x, event.screenY - grabbed.y];
  const far = grabbed.far + Math.abs(by[0]) + Math.abs(by[1]);
  grabbed = { x: event.screenX, y: event.screenY, far };
  tell({ move: by });
});
$("head").addEventListener("lostpointercapture", () => {
  $("head").classList.remove("held");
  tell({ drop: true });
  if (grabbed.far < STILL_PX && $("panel").hidden) toggle();
  grabbed = null;
});
$("grip").addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!way) return;
  event.preventDefault();
  tell({ move: way.map((part) => part * STEP_PX), drop: true });
});
$("fold").addEventListener("click", toggle);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !framed || $("panel").hidden) return;
  toggle();
  $("fold").focus();
});

// ── what is told ──────────────────────────────────────────────────────────────────────────────

// A window that nobody sees holds no connection: browsers have six for a host, and the page's own
// requests may need them.
function listen() {
  clearTimeout(retry);
  if (document.hidden || events || phase === "over") return;
  events = new EventSource(at("events"));
  events.addEventListener("state", (event) => {
    retries = 0;
    show(JSON.parse(event.data));
  });
  events.addEventListener("end", () => enter("over"));
  events.addEventListener("error", () => {
    status("down", "Reconnecting");
    if (events?.readyState === EventSource.CLOSED) ask(); // else the browser tries again
  });
}

function hush() {
  events?.close();
  events = null;
}

// Why there are no events: their answer's status is hidden from scripts.
async function ask() {
  hush();
  const pause = Math.min(RETRY_MS[0] * 2 ** retries++, RETRY_MS[1]);
  retry = setTimeout(listen, pause * (0.5 + Math.random() / 2));
  const answer = await fetch(at("me"), {
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(DEADLINE_MS),
  }).catch(() => null);
  if (answer?.status === 404 || answer?.status === 410) enter("over");
  if (answer?.ok && !(await answer.json()).owner) enter("stranger");
}

document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));

function status(kind, text) {
  document.body.classList.toggle("up", kind === "up");
  document.body.classList.toggle("down", kind === "down");
  write("link-text", text);
  write("rtt", "");
}

function enter(next) {
  phase = next;
  $("live").hidden = phase !== "owner";
  $("notice").hidden = phase === "owner";
  if (phase === "owner") return;
  hush();
  clearTimeout(retry);
  hideSecret();
  if (state) discard();
  write("count", "");
  $("tab").hidden = !framed || phase === "over";
  if (phase === "over") {
    status("", "Closed");
    write("notice-text", "This session is over, and its public URL with it.");
  } else {
    status("", framed ? "Open the bar" : "Not the owner");
    const here = "This browser keeps the owner's cookie from frames of other sites.";
    const link = "This browser is not the owner's. Open the owner's link in it.";
    write("notice-text", framed ? here : link);
  }
  measure();
}

function show(told) {
  state = told;
  if (phase !== "owner") enter("owner");
  const { policy, paused, connected, roundTripMs } = state;
  const up = policy.public ? "Connected" : "Locked";
  status(connected ? "up" : "down", !connected ? "App is away" : paused ? "Paused" : up);
  write("rtt", connected && roundTripMs !== null ? `${Math.round(roundTripMs)} ms` : "");
  write("count", counted(state.activeViewers, "viewer"));
  $("url").value = state.publicUrl;
  write("lock", policy.public ? "Lock" : "Unlock");
  $("lock").classList.toggle("on", !policy.public);
  write("pause", paused ? "Resume" : "Pause");
  $("pause").classList.toggle("on", paused);
  const protectedBy = policy.passwordProtected || state.authMode === "basic";
  write("rotate", protectedBy ? "New password" : "Set password");
  const until = new Date(state.expiresAt).toLocaleString([], {
    ...{ weekday: "short", hour: "2-digit", minute: "2-digit" },
  });
  write("until", `Open until ${until}`);
  drawMatrix(state.qr);
  showViewers();
  showRequests();
  showRules();
  measure();
}

let drawn = "";

function drawMatrix(rows) {
  $("qr-show").hidden = !rows;
  if (!rows || drawn === rows.join("\n")) return;
  drawn = rows.join("\n");
  const quiet = 4; // modules of white around (ISO/IEC 18004)
  const side = rows.length + 2 * quiet;
  const runs = rows.flatMap((row, y) =>
    [...row.matchAll(/1+/g)].map((run) => `M${run.index + quiet} ${y + quiet}h${run[0].length}v1h-${run[0].length}z`),
  );
  const [svg, path] = ["svg", "path"].map((name) =>
    document.createElementNS("http://www.w3.org/2000/svg", name),
  );
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR code of the public URL");
  svg.setAttribute("shape-rendering", "crispEdges");
  path.setAttribute("d", runs.join(""));
  svg.append(path);
  $("qr").replaceChildren(svg);
}

const rows = new Map(); // a viewer's id to his row: what has the focus must stay

function showViewers() {
  const kicked = state.kickedViewerIds.length;
  write("viewers-count", `${state.activeViewers}${kicked ? ", some removed" : ""}`);
  const here = new Set(state.viewers.map((viewer) => viewer.id));
  for (const [id, row] of rows) {
    if (here.has(id)) continue;
    eye?.unobserve(row.button);
    row.item.remove();
    rows.delete(id);
  }
  for (const viewer of state.viewers) {
    if (!rows.has(viewer.id)) rows.set(viewer.id, viewerRow(viewer));
    const { name, facts } = rows.get(viewer.id);
    const open = viewer.streams ? `, ${viewer.streams} open` : "";
    const from = viewer.address ? `, ${viewer.address}` : "";
    name.textContent = viewer.name;
    facts.textContent = `${counted(viewer.requests, "request")}${open}, since ${clock(viewer.firstSeen)}${from}`;
  }
}

function viewerRow(viewer) {
  const [item, text] = [element("li", ""), element("div", "")];
  const [name, facts] = [element("span", viewer.name), element("small", "")];
  const button = element("button", "Kick", { type: "button", "aria-label": `Kick ${viewer.name}` });
  const disarm = () => {
    button.textContent = "Kick";
    button.classList.remove("bad");
    button.setAttribute("aria-label", `Kick ${viewer.name}`);
  };
  let armed = 0;
  onAct(button, () => {
    clearTimeout(armed);
    if (button.classList.contains("bad")) {
      disarm();
      return act("kick", `&id=${encodeURIComponent(viewer.id)}`).then((done) => done && say("Removed."));
    }
    button.textContent = "For good?";
    button.classList.add("bad");
    button.setAttribute("aria-label", `For good? Kick ${viewer.name}`);
    armed = setTimeout(disarm, ARMED_MS);
  });
  text.append(name, facts);
  item.append(text, button);
  $("viewers-list").append(item);
  return { item, name, facts, button };
}

function showRequests() {
  if (!$("log").open) return;
  const lines = state.requests.toReversed().map((request) => {
    const line = element("tr", "");
    const wrong = request.status >= 500 || request.status === 0;
    line.append(
      element("td", new Date(request.time).toLocaleTimeString([], { hour12: false })),
      element("td", `${request.method} ${request.path}`),
      element("td", request.status || "cut", wrong ? { class: "wrong" } : {}),
      element("td", Math.round(request.durationMs)),
    );
    return line;
  });
  $("log-rows").replaceChildren(...lines);
}

$("log").addEventListener("toggle", () => state && showRequests());

// ── what the owner does ───────────────────────────────────────────────────────────────────────

// A page that lays something over the frame, or makes it invisible, could have its owner press what
// he does not see. Where the browser can tell (Intersection Observer v2), such clicks do nothing, nor
// do they when the page takes its cover away a moment later.
const eye =
  framed && "isVisible" in IntersectionObserverEntry.prototype
    ? new IntersectionObserver(
        (entries) => {
          for (const { target, isVisible } of entries) target.toggleAttribute("data-seen", isVisible);
        },
        { trackVisibility: true, delay: 100, threshold: [0, 0.5, 1] },
      )
    : null;

function onAct(button, run) {
  eye?.observe(button);
  button.addEventListener("click", () => {
    if (!eye || button.hasAttribute("data-seen")) return run();
    $("notice").hidden = $("tab").hidden = false;
    $("panel").scrollTop = 0; // where it says so
    write(
      "notice-text",
      "This button did nothing: the page covered it, or it had only just come. Press it again.",
    );
    measure();
  });
}

const say = (text) => write("said", text);

async function act(path, more = "", content = undefined, tell = say) {
  tell("");
  $("notice").hidden = true;
  const headers = { Accept: "application/json", "Wormkey-Csrf": state.csrf };
  if (content) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(at(path, more), {
      method: "POST",
      headers,
      body: content && JSON.stringify(content),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const told = await answer.json();
    if (answer.ok) return told;
    tell(told.error);
  } catch {
    tell("The gateway did not answer; look whether it happened, and try again.");
  }
  return null;
}

onAct($("lock"), async () => {
  const open = !state.policy.public;
  if (await act("policy", "", { public: open })) say(open ? "Open to viewers." : "Locked: only you get in.");
});
onAct($("pause"), async () => {
  const paused = state.paused;
  if (await act(paused ? "resume" : "pause")) say(paused ? "Going on." : "Paused: viewers wait.");
});
onAct($("rotate"), async () => {
  const told = await act("rotate-password");
  const user = told?.username ? ` for ${told.username}` : "";
  if (told) showSecret(`New password${user}, shown this once`, told.password);
});
onAct($("owner-link"), async () => {
  const told = await act("owner-link");
  if (told) showSecret("Owner's link for one more browser, works once", told.ownerUrl);
});

function showSecret(label, text) {
  write("secret-label", label);
  $("secret-text").value = text;
  $("secret").hidden = false;
  $("secret-text").focus();
  $("secret-text").select();
}

function hideSecret() {
  $("secret").hidden = true;
  $("secret-text").value = "";
}

$("secret-hide").addEventListener("click", () => {
  hideSecret();
  $("rotate").focus();
});

function askClose(open) {
  $("sure").hidden = !open;
  $(open ? "close-no" : "close").focus();
}

onAct($("close"), () => askClose(true));
$("close-no").addEventListener("click", () => askClose(false));
onAct($("close-yes"), async () => {
  if (await act("close")) enter("over");
});

async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select(); // plain http has no clipboard for scripts but this old way
    if (!document.execCommand("copy")) return say("Copy it by hand: it is selected.");
  }
  say("Copied.");
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy($(button.dataset.copy)));
}
$("qr-show").addEventListener("click", () => {
  const hidden = !$("qr").hidden;
  $("qr").hidden = hidden;
  $("qr-show").setAttribute("aria-expanded", String(!hidden));
});

// ── his rules ─────────────────────────────────────────────────────────────────────────────────

const UNITS = { G: 2 ** 30, M: 2 ** 20, K: 2 ** 10 };
const parts = (text, mark) => text.split(mark).map((part) => part.trim()).filter(Boolean);

function sizeText(size) {
  const [letter, bytes] = Object.entries(UNITS).find(([, each]) => size && size % each === 0) ?? [];
  return letter ? `${size / bytes}${letter}iB` : String(size);
}

function sizeOf(text) {
  const [, digits, letter = ""] = /^(\d{1,16}) *(?:([kmg])ib|b)?$/i.exec(text.trim()) ?? [];
  return digits ? digits * (UNITS[letter.toUpperCase()] ?? 1) : text;
}

// For each kind of field: a rule as its content, and what a content asks for. What makes no sense
// goes out as it is: the server has the sentence.
const KINDS = {
  count: [String, (text) => (/^\d{1,16}$/.test(text.trim()) ? Number(text) : text)],
  size: [sizeText, sizeOf],
  lines: [(list) => list.join("\n"), (text) => parts(text, "\n")],
  words: [(list) => list.join(" "), (text) => parts(text.toUpperCase(), /\s+/)],
  flag: [Boolean, Boolean],
  secret: [() => "", String],
  clear: [() => false, () => null],
};
const fields = [...document.querySelectorAll("[data-rule]")];
const shown = new Map(); // a field to what was last put into it; what differs is its owner's, and stays
const slot = (field) => (field.type === "checkbox" ? "checked" : "value");
const isEdited = (field) => shown.has(field) && field[slot(field)] !== shown.get(field);
const countEdits = () => write("rules-state", fields.some(isEdited) ? "not saved" : "");

function showRules() {
  const { policy } = state;
  for (const field of fields) {
    const told = KINDS[field.dataset.rule][0](policy[field.name]);
    if (isEdited(field) || shown.get(field) === told) continue;
    field[slot(field)] = told;
    shown.set(field, told);
  }
  $("password").placeholder = policy.passwordProtected ? "There is one" : "There is none";
  $("unprotect").disabled = !policy.passwordProtected;
  if (!policy.passwordProtected) $("unprotect").checked = false;
  countEdits();
}

function discard() {
  shown.clear();
  showRules();
  sayRules("");
}

// A sentence about a rule also marks its field.
function sayRules(text) {
  write("rules-said", text);
  const [, member] = /^(?:policy\.)?(\w+) must /.exec(text) ?? [];
  for (const field of fields) {
    const wrong = field.name === member && field.type !== "checkbox";
    field.setAttribute("aria-invalid", String(wrong));
    if (wrong) field.focus();
  }
}

$("fields").addEventListener("input", ({ target }) => {
  for (const field of fields) {
    // A new password, or none: the last touched counts.
    if (field !== target && field.name === target.name) field[slot(field)] = shown.get(field);
  }
  sayRules("");
  countEdits();
});
$("rules-discard").addEventListener("click", discard);
onAct($("rules-save"), async () => {
  const sent = new Map(fields.filter(isEdited).map((field) => [field, field[slot(field)]]));
  const wish = {};
  for (const [field, content] of sent) {
    const value = KINDS[field.dataset.rule][1](content);
    if (JSON.stringify(value) !== JSON.stringify(state.policy[field.name])) wish[field.name] = value;
  }
  if (!Object.keys(wish).length) {
    discard();
    return sayRules("Nothing has changed.");
  }
  const told = await act("policy", "", wish, sayRules);
  if (!told) return;
  for (const [field, content] of sent) shown.set(field, content); // what was typed meanwhile stays
  show({ ...state, policy: told.policy });
  sayRules("Saved.");
});

// ── the beginning ─────────────────────────────────────────────────────────────────────────────

$("tab").href = at("bar");
document.body.classList.toggle("tab", !framed);
fold(framed && memory.folded !== false);
const resizes = new ResizeObserver(measure);
for (const id of ["head", "live", "notice"]) resizes.observe($(id));
listen();
