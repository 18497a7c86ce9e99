const path = require("node:path");

module.exports = {
  mode: "development",
  devtool: false,
  entry: path.join(__dirname, "src", "main.js"),
  output: { filename: "main.js", publicPath: "/" },
};
