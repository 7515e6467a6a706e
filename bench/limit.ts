// The machine's own limit: how many no-op processes a second a small C loop starts with posix_spawn, two at a time, each with
// its output in two files. Measured in the same run as the service's figures, so that shares can be quoted.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

const SOURCE = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
extern char **environ;
int main(int c, char **v) {
  int n = atoi(v[1]), slots = atoi(v[2]), next = 0, running = 0;
  char *argv[] = {"/bin/true", 0};
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  while (next < n || running > 0) {
    while (running < slots && next < n) {
      char out[512], err[512];
      snprintf(out, sizeof out, "%s/%d.out", v[3], next);
      snprintf(err, sizeof err, "%s/%d.err", v[3], next);
      posix_spawn_file_actions_t f;
      posix_spawn_file_actions_init(&f);
      posix_spawn_file_actions_addopen(&f, 0, "/dev/null", O_RDONLY, 0);
      posix_spawn_file_actions_addopen(&f, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
      posix_spawn_file_actions_addopen(&f, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0644);
      pid_t p;
      if (posix_spawn(&p, argv[0], &f, 0, argv, environ)) return 1;
      posix_spawn_file_actions_destroy(&f);
      next++; running++;
    }
    int s;
    if (wait(&s) > 0) running--;
  }
  clock_gettime(CLOCK_MONOTONIC, &b);
  printf("%f\\n", (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
  return 0;
}
`;

export interface Limit {
  /** Process starts per second; undefined where there is no C compiler. */
  measure(count: number): number | undefined;
  close(): void;
}

export const processLimit = (folder: string): Limit => {
  const work = mkdtempSync(path.join(folder, "limit-"));
  const program = path.join(work, "spawn");
  let usable = true;
  try {
    writeFileSync(`${program}.c`, SOURCE);
    execFileSync("cc", ["-O2", "-o", program, `${program}.c`], { stdio: "ignore" });
  } catch {
    usable = false;
  }
  return {
    measure(count) {
      if (!usable) return undefined;
      const output = mkdtempSync(path.join(work, "out-"));
      const seconds = Number(execFileSync(program, [String(count), "2", output]).toString());
      return count / seconds;
    },
    close: () => rmSync(work, { recursive: true, force: true }),
  };
};
