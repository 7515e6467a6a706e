#!/usr/bin/env node
// Starts the command line with a Node that can run it: this one, or the one that the project installed for itself.
// Plain old JavaScript on purpose: it has to be understood by whatever Node finds it.
"use strict";
var fs = require("fs");
var path = require("path");
var root = path.join(__dirname, "..");
var LEAST = [22, 13];

function newEnough(version) {
  var parts = version.split(".").map(Number);
  return parts[0] > LEAST[0] || (parts[0] === LEAST[0] && parts[1] >= LEAST[1]);
}

function ownNode() {
  var name = process.platform === "win32" ? "node.exe" : "node";
  return [path.join(root, "node_modules", "node", "bin", name), path.join(root, "node_modules", ".bin", name)].find(function (file) {
    return fs.existsSync(file);
  });
}

function fail(message, hint) {
  process.stderr.write("error: " + message + "\n  " + hint + "\n");
  process.exit(70);
}

/** Runs the same command line by another Node and passes on signals and the exit code. */
function handOver(node) {
  var child = require("child_process").spawn(node, [__filename].concat(process.argv.slice(2)), {
    stdio: "inherit",
    env: Object.assign({}, process.env, { BATCHLEDGER_HANDED_OVER: "1" }),
  });
  ["SIGINT", "SIGTERM", "SIGHUP"].forEach(function (signal) {
    process.on(signal, function () { child.kill(signal); });
  });
  child.on("error", function (error) { fail("The project's own Node does not start: " + error.message, "Install Node " + LEAST.join(".") + " or newer."); });
  child.on("exit", function (code, signal) { process.exit(code === null ? 128 + (require("os").constants.signals[signal] || 0) : code); });
}

/** node:sqlite calls itself experimental in some versions; that is known and not for the user to read. */
function hushSqliteWarning() {
  var emit = process.emit;
  process.emit = function (name, warning) {
    if (name === "warning" && warning && warning.name === "ExperimentalWarning" && /SQLite/.test(warning.message)) return false;
    return emit.apply(process, arguments);
  };
}

function runHere() {
  delete process.env.BATCHLEDGER_HANDED_OVER;
  var entry = path.join(root, "dist", "src", "cli", "main.js");
  if (!fs.existsSync(entry)) fail("Batchledger is not built yet.", "Run `npm run build` in " + root + ".");
  hushSqliteWarning();
  require(entry).main();
}

if (newEnough(process.versions.node)) {
  runHere();
} else {
  var node = process.env.BATCHLEDGER_HANDED_OVER ? undefined : ownNode();
  if (node) handOver(node);
  else fail("Batchledger needs Node " + LEAST.join(".") + " or newer; this is " + process.versions.node + ".", "Install a newer Node, or run `npm ci` in " + root + ": it brings one along.");
}
