// Brings the owner's bar into a page of his tunnel: a frame from the gateway's base host, and where
// it is. This script runs among the page's own, so nothing secret may enter: no token, no state, no
// button. For visitors who are not the owner, and in frames, it does nothing.
(() => {
  "use strict";
  const TAG = "wormkey-bar";
  const PATIENCE_MS = 10000; // a frame that says nothing for so long was not let in
  const EDGE_PX = 8;
  const once = Symbol.for(TAG);
  const script = document.currentScript;
  if (!script || window.top !== window || window[once]) return;

  const source = new URL(script.src);
  const slug = source.searchParams.get("slug");
  const byPath = source.origin === location.origin;
  if (!slug || !(byPath || location.host === `${slug}.${source.host}`)) return;
  Object.defineProperty(window, once, { value: true });

  const query = `?slug=${encodeURIComponent(slug)}`;
  const address = `${source.origin}/.wormkey/bar${query}`;
  const me = `/.wormkey/me${byPath ? query : ""}`;
  const STYLE = `
    iframe { display: block; width: 100%; height: 100%; border: 0; border-radius: 12px;
      color-scheme: light dark; box-shadow: 0 0 0 1px #0003, 0 4px 24px #0004; }
    a { display: block; padding: 10px 14px; border-radius: 12px; background: #fbfaf7; color: #a8431f;
      font: 600 14px/20px system-ui, sans-serif; box-shadow: 0 0 0 1px #0003, 0 4px 24px #0004; }
    a:focus-visible { outline: 3px solid #a8431f; outline-offset: 2px; }
    [hidden] { display: none; }
    @media (prefers-color-scheme: dark) { a { background: #17191b; color: #f0946c; } }
    @media print { :host { display: none !important; } }`;

  let refused = false; // by the page's policy, to ask who the visitor is
  const watch = (event) => {
    const blocked = event.blockedURI.startsWith(source.origin) || event.blockedURI.includes(me);
    if (blocked && event.effectiveDirective === "connect-src") refused = true;
    if (blocked && event.effectiveDirective === "frame-src") giveUp();
  };
  document.addEventListener("securitypolicyviolation", watch);

  let giveUp = () => {};
  fetch(me, { credentials: "same-origin", headers: { Accept: "application/json" } })
    .then((answer) => answer.json())
    .then(({ owner }) => owner === true && place(true))
    .catch(() => setTimeout(() => refused && place(false))); // then the frame itself knows

  // `known` is false where only the frame can find out whether this is the owner.
  function place(known) {
    const host = document.createElement(TAG);
    const frame = document.createElement("iframe");
    const link = document.createElement("a");
    const spot = { x: "right", y: "bottom", dx: 16, dy: 16 }; // from which edges, how far in pixels
    const size = { width: 0, height: 0 };

    // What the page's style sheets say of its elements must not move or hide this one.
    const put = (name, value) => host.style.setProperty(name, value, "important");
    const settle = () => {
      const width = Math.min(size.width, document.documentElement.clientWidth - 2 * EDGE_PX);
      const height = Math.min(size.height, innerHeight - 2 * EDGE_PX);
      const inside = (distance, length, room) =>
        Math.max(EDGE_PX, Math.min(distance, room - length - EDGE_PX));
      const dx = inside(spot.dx, width, document.documentElement.clientWidth);
      const dy = inside(spot.dy, height, innerHeight);
      for (const side of ["left", "right", "top", "bottom"]) put(side, "auto");
      put(spot.x, `${dx}px`);
      put(spot.y, `${dy}px`);
      put("width", link.hidden ? `${width}px` : "auto");
      put("height", link.hidden ? `${height}px` : "auto");
      return { dx, dy, width, height };
    };
    const say = (what) => frame.contentWindow?.postMessage({ wormkey: what }, source.origin);

    const move = ([right, down]) => {
      const now = settle();
      spot.dx = now.dx + (spot.x === "left" ? right : -right);
      spot.dy = now.dy + (spot.y === "top" ? down : -down);
      const then = settle();
      spot.dx = then.dx;
      spot.dy = then.dy;
    };
    // Held by the nearest corner, it stays in sight when the window or the bar changes its size.
    const drop = () => {
      const box = host.getBoundingClientRect();
      const [wide, high] = [document.documentElement.clientWidth, innerHeight];
      spot.x = box.left + box.right < wide ? "left" : "right";
      spot.y = box.top + box.bottom < high ? "top" : "bottom";
      spot.dx = spot.x === "left" ? box.left : wide - box.right;
      spot.dy = spot.y === "top" ? box.top : high - box.bottom;
      settle();
      say({ spot });
    };
    const numbers = (pair) => Array.isArray(pair) && pair.length === 2 && pair.every(Number.isFinite);

    addEventListener("message", (event) => {
      if (event.source !== frame.contentWindow || event.origin !== source.origin) return;
      const { spot: kept, size: wanted, move: by, drop: dropped } = event.data?.wormkey ?? {};
      if (kept && numbers([kept.dx, kept.dy])) {
        spot.x = kept.x === "left" ? "left" : "right";
        spot.y = kept.y === "top" ? "top" : "bottom";
        spot.dx = kept.dx;
        spot.dy = kept.dy;
      }
      if (numbers(wanted)) {
        clearTimeout(patience);
        link.hidden = true;
        frame.hidden = false;
        [size.width, size.height] = wanted;
        put("visibility", "visible");
      }
      if (numbers(by)) move(by);
      else settle();
      if (dropped === true) drop();
    });
    addEventListener("resize", settle);

    giveUp = () => {
      if (!known) return;
      frame.hidden = true;
      link.hidden = false;
      put("visibility", "visible");
      settle();
    };
    const patience = setTimeout(giveUp, PATIENCE_MS);

    link.href = address;
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "Wormkey: open the bar";
    link.hidden = true;
    frame.title = "Wormkey: the owner's bar";
    frame.allow = "clipboard-write";
    frame.addEventListener("load", () => say({ known }));
    frame.src = address;

    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    const shadow = host.attachShadow({ mode: "closed" });
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(frame, link);
    for (const [name, value] of [
      ["all", "initial"],
      ["position", "fixed"],
      ["visibility", "hidden"],
      ["z-index", "2147483647"],
      ["color-scheme", "light dark"],
    ]) {
      put(name, value);
    }
    settle();
    document.documentElement.append(host);
    // The top layer: no stacking context, transform or clip of the page reaches there.
    try {
      host.popover = "manual";
      host.showPopover();
    } catch {
      // Browsers without it have the highest z-index.
    }
  }
})();
