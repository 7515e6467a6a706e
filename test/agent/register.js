// Lets a child process of a test run TypeScript sources: node --require test/agent/register.js src/agent/main.ts
const { transformFileSync } = require("@swc/core");

require.extensions[".ts"] = (module, file) => {
  const options = { swcrc: false, sourceMaps: "inline", jsc: { target: "es2023", parser: { syntax: "typescript" } }, module: { type: "commonjs" } };
  module._compile(transformFileSync(file, options).code, file);
};
