// Places the owner's bar in a page: a frame from the gateway's base host, nothing more. It holds no
// secret, and does nothing for visitors who are not the owner.
"use strict";
(() => {
  const script = document.currentScript;
  if (!script || window !== window.top) return;
  const source = new URL(script.src);
  const slug = source.searchParams.get("slug");
  if (!slug) return;
  const byPath = source.origin === location.origin;
  const me = byPath ? `/.wormkey/me?slug=${encodeURIComponent(slug)}` : "/.wormkey/me";
  fetch(me, { credentials: "same-origin" })
    .then((answer) => answer.json())
    .then((answer) => {
      if (!answer.owner) return;
      const host = document.createElement("wormkey-bar");
      const frame = document.createElement("iframe");
      frame.title = "Wormkey: the owner's bar";
      frame.src = `${source.origin}/.wormkey/bar?slug=${encodeURIComponent(slug)}`;
      frame.style.cssText = "position:fixed;right:1rem;bottom:1rem;width:20rem;height:12rem;border:0";
      host.attachShadow({ mode: "closed" }).append(frame);
      document.documentElement.append(host);
    })
    .catch(() => {});
})();
