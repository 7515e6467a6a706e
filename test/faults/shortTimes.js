// Loaded before the program (node --require) by tests alone: a TVM's heartbeats, the silence after which it ends its own tasks and the
// silence after which it is lost are a few seconds, and the sweep comes each second. All else is as in what is shipped.
"use strict";
const Module = require("node:module");

/** @param {{ heartbeatMs: number; selfStopMs: number; lostAfterMs: number }} times */
module.exports = ({ heartbeatMs, selfStopMs, lostAfterMs }) => {
  const compile = Module._extensions[".js"];
  Module._extensions[".js"] = (module, file) => {
    compile(module, file);
    if (/dist[\\/]src[\\/]app[\\/]agents\.js$/.test(file)) Object.assign(module.exports, { HEARTBEAT_MS: heartbeatMs, SELF_STOP_MS: selfStopMs, LOST_AFTER_MS: lostAfterMs });
    if (/dist[\\/]src[\\/]host[\\/]schedule\.js$/.test(file)) {
      const { parseSchedule } = module.exports;
      module.exports.parseSchedule = (text) => parseSchedule(text === "*/10 * * * * *" ? "* * * * * *" : text);
    }
  };
};
