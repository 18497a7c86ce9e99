// The page's own half: every URL is relative, so that it works wherever the page is mounted.

const byId = (id) => document.getElementById(id);

const source = new EventSource("events");
source.onmessage = (event) => {
  byId("counter").textContent = JSON.parse(event.data).count;
};

const socketUrl = new URL("echo", document.baseURI);
socketUrl.protocol = socketUrl.protocol === "https:" ? "wss:" : "ws:";
const state = byId("socket-state");
let socket;

function connect() {
  socket = new WebSocket(socketUrl, ["echo"]);
  socket.onopen = () => {
    state.textContent = `open, subprotocol “${socket.protocol}”`;
    state.classList.add("open");
  };
  socket.onmessage = (event) => {
    byId("echo-answer").textContent = `← ${event.data}`;
  };
  socket.onclose = (event) => {
    state.textContent = `closed with ${event.code}; trying again`;
    state.classList.remove("open");
    setTimeout(connect, 1000);
  };
}
connect();

byId("echo-form").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState === WebSocket.OPEN) socket.send(byId("echo-text").value);
};

byId("file").onchange = async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  const answer = byId("upload-answer");
  answer.textContent = `sending ${file.name} …`;
  try {
    const response = await fetch("upload", { method: "POST", body: file });
    const { bytes, sha256 } = await response.json();
    answer.textContent = `${bytes} bytes, SHA-256 ${sha256}`;
  } catch (error) {
    answer.textContent = `it did not arrive: ${error.message}`;
  }
};

byId("stream-start").onclick = async () => {
  const answer = byId("stream-answer");
  answer.textContent = "";
  const response = await fetch("stream");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    answer.textContent += value;
  }
};
