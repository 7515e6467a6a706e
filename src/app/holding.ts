// How much one TVM may hold: what placement, the agents' door and those who take tasks away have in common.

/** Most attempts one TVM may hold. */
export const HOLD_MAX = 512;
