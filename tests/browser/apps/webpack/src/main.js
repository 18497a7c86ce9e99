import { message } from "./message.js";

const show = () => {
  document.getElementById("message").textContent = message;
};
show();

if (module.hot) {
  module.hot.accept("./message.js", show);
}
