import path from "node:path";

// node_modules stands three folders up, beside the copies of all the apps.
export default {
  turbopack: { root: path.resolve(import.meta.dirname, "..", "..", "..") },
};
