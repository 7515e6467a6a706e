// Loaded before the program (node --require) by tests alone: the wall clock of this process (Date) is wrong by as many milliseconds as a
// file says, which is looked at now and then. Timers and performance.now() go on as they are, as a machine's do when its clock is set.
"use strict";
const fs = require("node:fs");

const LOOK_MS = 20;

/** @param {{ service: string; agent: string }} files */
module.exports = (files) => {
  const file = /agent[\\/]main\.[jt]s$/.test(process.argv[1] ?? "") ? files.agent : files.service;
  const Real = Date;
  let wrongBy = 0;
  const look = () => {
    try {
      wrongBy = Number(fs.readFileSync(file, "utf8")) || 0;
    } catch {
      // As long as nobody has written it, the clock is right.
    }
  };
  look();
  setInterval(look, LOOK_MS).unref();
  const now = () => Real.now() + wrongBy;
  global.Date = new Proxy(Real, {
    apply: () => new Real(now()).toString(),
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    get: (target, name, receiver) => (name === "now" ? now : Reflect.get(target, name, receiver === global.Date ? target : receiver)),
  });
};
