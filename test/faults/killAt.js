// Loaded before the program (node --require) by tests alone: numbers the moments at which a process touches the world (files, database,
// network, other processes), and kills it there with SIGKILL, as a power switch would. Nothing of this is in what is shipped.
//
// A point lies behind each such call: what was done is done, and the program has not heard of it. The world changes by these calls alone, so
// dying before a call is dying behind the one before it. Numbers count from 1 in each process. `marker` is made by the first that dies, so
// that whoever follows lives.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const childProcess = require("node:child_process");
const sqlite = require("node:sqlite");

/** @param {{ role: "service" | "agent"; at: number | string; marker: string; names: string }} options `names`: file that the points' names are appended to. */
module.exports = ({ role, at, marker, names }) => {
  const own = /agent[\\/]main\.[jt]s$/.test(process.argv[1] ?? "") ? "agent" : /spawner/.test(process.argv[1] ?? "") ? "helper" : "service";
  if (own !== role) return;
  const real = { openSync: fs.openSync, writeSync: fs.writeSync, closeSync: fs.closeSync };
  const seen = [];
  let busy = false;
  const point = (name) => {
    if (busy) return;
    seen.push(name);
    if (typeof at === "number" ? seen.length !== at : !name.includes(at)) return;
    busy = true;
    try {
      const file = real.openSync(marker, "wx");
      real.writeSync(file, `${seen.length} ${name}\n`);
      real.closeSync(file);
    } catch {
      busy = false;
      return; // Another has died already.
    }
    process.kill(process.pid, "SIGKILL");
  };
  process.on("exit", () => {
    const file = real.openSync(names, "a");
    real.writeSync(file, `${JSON.stringify(seen)}\n`);
    real.closeSync(file);
  });

  const around = (object, method, nameOf) => {
    const original = object[method];
    object[method] = function (...args) {
      const name = nameOf.call(this, args);
      if (name === undefined || busy) return original.apply(this, args);
      const result = original.apply(this, args);
      if (typeof result?.then !== "function") {
        point(name);
        return result;
      }
      return result.then((value) => {
        point(name);
        return value;
      });
    };
  };
  files(around);
  database(around);
  network(around, point);
  processes(around, point);
};

/** The end of the name says enough. */
const short = (file) => String(file).split("/").slice(-2).join("/").replace(/[0-9a-f]{12,}|\d{4,}/g, "*");

const files = (around) => {
  for (const method of ["writeFileSync", "appendFileSync", "renameSync", "mkdirSync", "rmSync", "unlinkSync", "copyFileSync", "linkSync", "chownSync"]) around(fs, method, ([file]) => `${method} ${short(file)}`);
  for (const method of ["writeFile", "rename", "mkdir", "rm", "open"]) around(fs.promises, method, ([file]) => (typeof file === "string" ? `${method} ${short(file)}` : method));
  const { open } = fs.promises;
  let handles;
  fs.promises.open = async (...args) => {
    const handle = await open(...args);
    if (!handles) around((handles = Object.getPrototypeOf(handle)), "sync", () => "fsync");
    return handle;
  };
};

/** Whole transactions, and statements outside of one: what lies within a transaction is as if it had not been. */
const database = (around) => {
  const owners = new WeakMap();
  const { prepare } = sqlite.DatabaseSync.prototype;
  sqlite.DatabaseSync.prototype.prepare = function (...args) {
    const statement = prepare.apply(this, args);
    owners.set(statement, this);
    return statement;
  };
  around(sqlite.DatabaseSync.prototype, "exec", ([sql]) => `exec ${sql.trim().slice(0, 30).replace(/\s+/g, " ")}`);
  around(sqlite.StatementSync.prototype, "run", function () {
    const sql = this.sourceSQL.trim();
    if (/^COMMIT/i.test(sql)) return "COMMIT";
    return /^(INSERT|UPDATE|DELETE)/i.test(sql) && owners.get(this)?.isTransaction === false ? sql.slice(0, 30).replace(/\s+/g, " ") : undefined;
  });
};

const network = (around, point) => {
  const { end } = http.OutgoingMessage.prototype;
  http.OutgoingMessage.prototype.end = function (...args) {
    const asking = this instanceof http.ClientRequest;
    const name = asking ? `request ${this.method} ${short(this.path.split("?")[0])}` : `answer ${this.statusCode} to ${this.req?.method} ${short((this.req?.url ?? "").split("?")[0])}`;
    // Whoever only looks is told nothing that matters.
    if (!/(^request| to) (GET|HEAD) /.test(name)) this.once("finish", () => point(name));
    return end.apply(this, args);
  };
  around(http.ClientRequest.prototype, "emit", ([event]) => (event === "response" ? "hearing an answer" : undefined));
};

/** What an agent tells its start helpers, and hears of them, are points too. */
const processes = (around, point) => {
  const { spawn } = childProcess;
  childProcess.spawn = (...args) => {
    const name = `spawn ${short(args[0])}`;
    const child = spawn(...args);
    point(name);
    if (child.stdin) around(child.stdin, "write", () => `order to ${short(args[0])}`);
    if (child.stdin) around(child.stdin, "end", () => `end of orders to ${short(args[0])}`);
    if (child.stdout) around(child.stdout, "emit", ([event]) => (event === "data" ? `word of ${short(args[0])}` : undefined));
    return child;
  };
};
