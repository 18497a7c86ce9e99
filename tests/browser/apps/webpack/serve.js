// webpack-dev-server by its own API: webpack-cli is one package more for the same server.
const path = require("node:path");
const webpack = require("webpack");
const WebpackDevServer = require("webpack-dev-server");

const server = new WebpackDevServer(
  {
    host: "127.0.0.1",
    port: Number(process.argv[2]),
    hot: true,
    // Else the page looks for its socket at this host and port, not where the page came from.
    client: { webSocketURL: "auto://0.0.0.0:0/ws" },
    static: path.join(__dirname, "public"),
  },
  webpack(require("./webpack.config.js")),
);
server.start();
process.once("SIGTERM", () => server.stop().then(() => process.exit()));
