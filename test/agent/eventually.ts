// Waits for a condition with a bound: looks often, gives up with what it saw.

/** The first value of `look` that is neither undefined nor false. */
export async function eventually<T>(look: () => T | undefined | false | Promise<T | undefined | false>, what: () => string = () => look.toString(), withinMs = 60_000): Promise<T> {
  const until = Date.now() + withinMs;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > until) throw new Error(`waited in vain for ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
