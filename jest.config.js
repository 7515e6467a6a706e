/** Tests run from TypeScript source (swc strips the types); end-to-end tests start the built service as a user would. */
module.exports = {
  testEnvironment: "node",
  roots: ["<rootDir>/test"],
  testMatch: ["**/*.test.ts"],
  transform: { "^.+\\.ts$": ["@swc/jest", { jsc: { target: "es2024", parser: { syntax: "typescript" } }, module: { type: "commonjs" } }] },
  // The Functions runtime provides this module; in tests the local host's stand-in takes its place.
  moduleNameMapper: { "^@azure/functions-core$": "<rootDir>/test/support/functionsCore.ts" },
  // A bound for what hangs, not for what is slow: machines that run tests are busy.
  testTimeout: 240_000,
  // Most tests wait for processes: one worker leaves half of two cores idle.
  maxWorkers: 2,
  // The SDKs of Azure leave timers and sockets behind that no call of theirs ends.
  forceExit: true,
};
