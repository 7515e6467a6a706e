// Renders one tile of a scene: a small path tracer in plain JavaScript, with no package and no state but its arguments.
//   node render.js SCENE.json TILE [OUTPUTS.json]        TILE is "column,row"
// It writes tile-COLUMN-ROW.rgb beside itself and, when OUTPUTS.json names an address for the tile, PUTs it there too.
// The same scene and tile always give the same bytes: chance comes from a generator seeded by the pixel.
"use strict";
const { existsSync, readFileSync, writeFileSync } = require("node:fs");
const { parseScene, tileOf, tileFile } = require("./scene");

const EPSILON = 1e-4;
const FAR = 1e30;
const MATTE = 0, GLOSS = 1, MIRROR = 2, GLASS = 3;
const KINDS = { matte: MATTE, gloss: GLOSS, mirror: MIRROR, glass: GLASS };
// A sample brighter than this is a firefly: a rare path that would need thousands more to average out.
const BRIGHTEST = 12;

/** Pixels of one tile, rows from the top, three bytes (sRGB) each. */
function renderTile(scene, column, row) {
  const tile = tileOf(scene, column, row);
  const tracer = makeTracer(scene);
  const pixels = Buffer.alloc(tile.width * tile.height * 3);
  const color = [0, 0, 0];
  let at = 0;
  for (let y = tile.y; y < tile.y + tile.height; y++) {
    for (let x = tile.x; x < tile.x + tile.width; x++) {
      tracer.pixel(x, y, color);
      for (const channel of color) pixels[at++] = toByte(channel);
    }
  }
  return { ...tile, pixels };
}

/** Filmic curve (the fit by Narkowicz), then sRGB. */
function toByte(linear) {
  const mapped = (linear * (2.51 * linear + 0.03)) / (linear * (2.43 * linear + 0.59) + 0.14);
  const clipped = Math.min(1, Math.max(0, mapped));
  return Math.round(255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055));
}

/** Everything that is computed once a scene: spheres in flat arrays, a tree over them, the camera's axes. */
function makeTracer(scene) {
  const spheres = flatten(scene);
  const tree = buildTree(spheres);
  const camera = aim(scene);
  const { plane, sky, lights } = scene;
  const grid = Math.max(1, Math.round(Math.sqrt(scene.samples)));
  const random = makeRandom();
  // The last hit, kept in variables instead of an object a ray: this is the hot loop.
  let hitDistance = FAR, hitThing = -1;
  const stack = new Int32Array(64);

  /** Nearest sphere or plane along the ray within a distance; hitThing is the sphere's number, -2 the plane, -1 nothing. */
  function intersect(ox, oy, oz, dx, dy, dz, within) {
    hitDistance = within;
    hitThing = -1;
    if (plane && dy < -1e-6) {
      const distance = (plane.y - oy) / dy;
      if (distance > EPSILON && distance < within) { hitDistance = distance; hitThing = -2; }
    }
    const ix = 1 / dx, iy = 1 / dy, iz = 1 / dz;
    const { boxes, first, count, order } = tree;
    const { x, y, z, r } = spheres;
    let top = 0;
    stack[top++] = 0;
    while (top > 0) {
      const node = stack[--top];
      const b = node * 6;
      const x1 = (boxes[b] - ox) * ix, x2 = (boxes[b + 3] - ox) * ix;
      const y1 = (boxes[b + 1] - oy) * iy, y2 = (boxes[b + 4] - oy) * iy;
      const z1 = (boxes[b + 2] - oz) * iz, z2 = (boxes[b + 5] - oz) * iz;
      const near = Math.max(Math.min(x1, x2), Math.min(y1, y2), Math.min(z1, z2));
      const far = Math.min(Math.max(x1, x2), Math.max(y1, y2), Math.max(z1, z2));
      if (far < 0 || near > far || near > hitDistance) continue;
      if (count[node] === 0) {
        stack[top++] = first[node];
        stack[top++] = first[node] + 1;
        continue;
      }
      for (let i = first[node], end = i + count[node]; i < end; i++) {
        const s = order[i];
        const cx = ox - x[s], cy = oy - y[s], cz = oz - z[s];
        const half = cx * dx + cy * dy + cz * dz;
        const root = half * half - (cx * cx + cy * cy + cz * cz - r[s] * r[s]);
        if (root <= 0) continue;
        const reach = Math.sqrt(root);
        let distance = -half - reach;
        if (distance < EPSILON) distance = -half + reach;
        if (distance > EPSILON && distance < hitDistance) { hitDistance = distance; hitThing = s; }
      }
    }
  }

  /** How much light passes from a point toward a direction up to a distance: glass lets most of it through. */
  function passes(ox, oy, oz, dx, dy, dz, reach) {
    let share = 1;
    for (let step = 0; step < 4; step++) {
      intersect(ox, oy, oz, dx, dy, dz, reach);
      if (hitThing === -1) return share;
      if (hitThing < 0 || spheres.kind[hitThing] !== GLASS) return 0;
      const go = hitDistance + EPSILON * 4;
      ox += dx * go; oy += dy * go; oz += dz * go;
      reach -= go;
      share *= 0.88;
    }
    return share;
  }

  function skyColor(dx, dy, dz, out) {
    const height = Math.max(0, dy) ** sky.falloff;
    for (let c = 0; c < 3; c++) out[c] = sky.horizon[c] + (sky.zenith[c] - sky.horizon[c]) * height;
    const toward = dx * sky.sun.direction[0] + dy * sky.sun.direction[1] + dz * sky.sun.direction[2];
    if (toward > 0) {
      const glow = toward ** sky.sun.width;
      for (let c = 0; c < 3; c++) out[c] += sky.sun.color[c] * glow;
    }
  }

  const skyOut = [0, 0, 0];

  /**
   * Radiance along one ray. Its number among the pixel's rays and u1..u4 (0..1) place the samples of the first surface
   * evenly over all of them; from the second surface on chance decides.
   */
  function trace(ox, oy, oz, dx, dy, dz, number, u1, u2, u3, u4, out) {
    let tr = 1, tg = 1, tb = 1, lr = 0, lg = 0, lb = 0;
    let direct = true;
    for (let depth = 0; depth <= scene.depth; depth++) {
      intersect(ox, oy, oz, dx, dy, dz, FAR);
      const thing = hitThing, distance = hitDistance;
      // A lamp is seen by the eye and in mirrors; matt surfaces ask for its light themselves, below. What mirrors throw of it
      // onto matt surfaces is left out: so few rays find it that it would be speckles.
      if (direct) {
        for (const light of lights) {
          const cx = light.center[0] - ox, cy = light.center[1] - oy, cz = light.center[2] - oz;
          const along = cx * dx + cy * dy + cz * dz;
          if (along <= 0 || along > distance) continue;
          if (cx * cx + cy * cy + cz * cz - along * along > light.radius * light.radius) continue;
          lr += tr * light.color[0]; lg += tg * light.color[1]; lb += tb * light.color[2];
          depth = scene.depth + 1;
          break;
        }
        if (depth > scene.depth) break;
      }
      if (thing === -1) {
        skyColor(dx, dy, dz, skyOut);
        lr += tr * skyOut[0]; lg += tg * skyOut[1]; lb += tb * skyOut[2];
        break;
      }
      const px = ox + dx * distance, py = oy + dy * distance, pz = oz + dz * distance;
      let nx = 0, ny = 1, nz = 0, kind, rough, cr, cg, cb, ior = 1.5;
      if (thing === -2) {
        const even = (Math.floor(px / plane.size) + Math.floor(pz / plane.size)) & 1;
        const tint = plane.colors[even];
        // Far tiles melt into the horizon's colour, as haze would make them.
        const haze = 1 - Math.exp(-distance * plane.haze);
        skyColor(dx, 0, dz, skyOut);
        lr += tr * haze * skyOut[0]; lg += tg * haze * skyOut[1]; lb += tb * haze * skyOut[2];
        tr *= 1 - haze; tg *= 1 - haze; tb *= 1 - haze;
        kind = plane.kind; rough = plane.rough;
        cr = tint[0]; cg = tint[1]; cb = tint[2];
      } else {
        const inverse = 1 / spheres.r[thing];
        nx = (px - spheres.x[thing]) * inverse; ny = (py - spheres.y[thing]) * inverse; nz = (pz - spheres.z[thing]) * inverse;
        kind = spheres.kind[thing]; rough = spheres.rough[thing];
        cr = spheres.red[thing]; cg = spheres.green[thing]; cb = spheres.blue[thing];
        ior = spheres.ior[thing];
      }
      let facing = -(nx * dx + ny * dy + nz * dz);
      const inside = facing < 0;
      if (inside) { nx = -nx; ny = -ny; nz = -nz; facing = -facing; }
      const first = depth === 0;

      if (kind === GLASS) {
        const ratio = inside ? ior : 1 / ior;
        const k = 1 - ratio * ratio * (1 - facing * facing);
        const bounce = k < 0 ? 1 : schlick(inside ? Math.sqrt(k) : facing, ior);
        if (random.next() < bounce) {
          dx += 2 * facing * nx; dy += 2 * facing * ny; dz += 2 * facing * nz;
        } else {
          const turn = ratio * facing - Math.sqrt(k);
          dx = ratio * dx + turn * nx; dy = ratio * dy + turn * ny; dz = ratio * dz + turn * nz;
          if (inside) { tr *= cr; tg *= cg; tb *= cb; }
        }
        ox = px + dx * EPSILON; oy = py + dy * EPSILON; oz = pz + dz * EPSILON;
        continue;
      }
      let reflects = kind === MIRROR;
      if (kind === GLOSS) {
        const share = schlick(facing, ior);
        if (first) {
          // Every fourth ray reflects, whatever the angle, and weighs as much as the angle says: highlights without speckles.
          reflects = number % 4 === 0;
          const weight = reflects ? share * 4 : (1 - share) / 0.75;
          tr *= weight; tg *= weight; tb *= weight;
        } else {
          reflects = random.next() < share;
        }
      }
      if (reflects) {
        dx += 2 * facing * nx; dy += 2 * facing * ny; dz += 2 * facing * nz;
        if (rough > 0) {
          const a = 2 * Math.PI * (first ? u3 : random.next()), h = 2 * (first ? u4 : random.next()) - 1;
          const ring = Math.sqrt(1 - h * h) * rough;
          dx += Math.cos(a) * ring; dy += h * rough; dz += Math.sin(a) * ring;
          const length = 1 / Math.sqrt(dx * dx + dy * dy + dz * dz);
          dx *= length; dy *= length; dz *= length;
          if (dx * nx + dy * ny + dz * nz <= 0) break;
        }
        if (kind === MIRROR) { tr *= cr; tg *= cg; tb *= cb; }
        ox = px + nx * EPSILON; oy = py + ny * EPSILON; oz = pz + nz * EPSILON;
        continue;
      }

      // Matt: ask each lamp for its light through one point of its disc, then go on in a direction drawn by the cosine.
      tr *= cr; tg *= cg; tb *= cb;
      ox = px + nx * EPSILON; oy = py + ny * EPSILON; oz = pz + nz * EPSILON;
      // From the second surface on one lamp, drawn by chance, speaks for all.
      const from = first ? 0 : Math.floor(random.next() * lights.length), to = first ? lights.length : from + 1;
      const many = first ? 1 : lights.length;
      for (let l = from; l < to; l++) {
        const light = lights[l];
        let wx = light.center[0] - ox, wy = light.center[1] - oy, wz = light.center[2] - oz;
        const away2 = wx * wx + wy * wy + wz * wz;
        const away = Math.sqrt(away2);
        wx /= away; wy /= away; wz /= away;
        const cosMax = Math.sqrt(Math.max(0, 1 - (light.radius * light.radius) / away2));
        const cosine = 1 - (first ? u1 : random.next()) * (1 - cosMax);
        const sine = Math.sqrt(Math.max(0, 1 - cosine * cosine));
        const turn = 2 * Math.PI * (first ? u2 : random.next());
        const side = frame(wx, wy, wz);
        const a = Math.cos(turn) * sine, b = Math.sin(turn) * sine;
        const sx = side.ux * a + side.vx * b + wx * cosine;
        const sy = side.uy * a + side.vy * b + wy * cosine;
        const sz = side.uz * a + side.vz * b + wz * cosine;
        const lit = sx * nx + sy * ny + sz * nz;
        if (lit <= 0) continue;
        const share = passes(ox, oy, oz, sx, sy, sz, away - light.radius);
        if (share === 0) continue;
        // solid angle of the lamp / pi, times the cosine
        const weight = 2 * (1 - cosMax) * lit * share * many;
        lr += tr * light.color[0] * weight; lg += tg * light.color[1] * weight; lb += tb * light.color[2] * weight;
      }
      if (depth >= 1) {
        const keep = Math.min(0.9, Math.max(tr, tg, tb));
        if (random.next() >= keep) break;
        tr /= keep; tg /= keep; tb /= keep;
      }
      const height2 = first ? u3 : random.next();
      const turn = 2 * Math.PI * (first ? u4 : random.next());
      const side = frame(nx, ny, nz);
      const radius = Math.sqrt(height2), up = Math.sqrt(1 - height2);
      const a = Math.cos(turn) * radius, b = Math.sin(turn) * radius;
      dx = side.ux * a + side.vx * b + nx * up;
      dy = side.uy * a + side.vy * b + ny * up;
      dz = side.uz * a + side.vz * b + nz * up;
      direct = false;
    }
    out[0] += Math.min(BRIGHTEST, lr); out[1] += Math.min(BRIGHTEST, lg); out[2] += Math.min(BRIGHTEST, lb);
  }

  /** Mean colour of one pixel over a grid of jittered rays through a lens of some width. */
  function pixel(px, py, color) {
    color[0] = color[1] = color[2] = 0;
    random.seed(py * scene.width + px, scene.seed);
    const s1 = random.next(), s2 = random.next(), s3 = random.next(), s4 = random.next(), s5 = random.next(), s6 = random.next();
    const rays = grid * grid;
    for (let i = 0; i < rays; i++) {
      const fx = px + ((i % grid) + random.next()) / grid, fy = py + (Math.floor(i / grid) + random.next()) / grid;
      // Additive sequences of irrational step cover a square more evenly than chance; each pixel starts at its own offset.
      const lensTurn = 2 * Math.PI * fraction(s1 + i * 0.7548776662466927);
      const lens = camera.aperture * Math.sqrt(fraction(s2 + i * 0.5698402909980532));
      const lx = Math.cos(lensTurn) * lens, ly = Math.sin(lensTurn) * lens;
      const sx = (2 * fx / scene.width - 1) * camera.tan * camera.aspect * camera.focus - lx;
      const sy = (1 - 2 * fy / scene.height) * camera.tan * camera.focus - ly;
      const { right, up, forward, from, focus } = camera;
      let dx = right[0] * sx + up[0] * sy + forward[0] * focus;
      let dy = right[1] * sx + up[1] * sy + forward[1] * focus;
      let dz = right[2] * sx + up[2] * sy + forward[2] * focus;
      const length = 1 / Math.sqrt(dx * dx + dy * dy + dz * dz);
      dx *= length; dy *= length; dz *= length;
      trace(
        from[0] + right[0] * lx + up[0] * ly, from[1] + right[1] * lx + up[1] * ly, from[2] + right[2] * lx + up[2] * ly,
        dx, dy, dz, i,
        fraction(s3 + i * 0.8566748838545029), fraction(s4 + i * 0.733891856627126),
        fraction(s5 + i * 0.6287067210378087), fraction(s6 + i * 0.5385972572236101), color,
      );
    }
    for (let c = 0; c < 3; c++) color[c] *= scene.exposure / rays;
  }

  return { pixel };
}

const fraction = (value) => value - Math.floor(value);

/** Share of light that a surface reflects at an angle (Schlick's approximation). */
function schlick(cosine, ior) {
  const straight = ((1 - ior) / (1 + ior)) ** 2;
  return straight + (1 - straight) * (1 - cosine) ** 5;
}

const axes = { ux: 0, uy: 0, uz: 0, vx: 0, vy: 0, vz: 0 };
/** Two directions at right angles to a unit vector and to each other (Duff and others, 2017). One shared answer, read at once. */
function frame(nx, ny, nz) {
  const sign = nz >= 0 ? 1 : -1;
  const a = -1 / (sign + nz), b = nx * ny * a;
  axes.ux = 1 + sign * nx * nx * a; axes.uy = sign * b; axes.uz = -sign * nx;
  axes.vx = b; axes.vy = sign + ny * ny * a; axes.vz = -ny;
  return axes;
}

/** A small generator (sfc32 cut down to 32 bits of state a word), seeded by the pixel so that tiles do not depend on each other. */
function makeRandom() {
  let a = 0, b = 0, c = 0, d = 0;
  const next = () => {
    const t = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t | 0;
    return (t >>> 0) / 4294967296;
  };
  const seed = (one, two) => {
    a = one | 0; b = two | 0; c = 0x9e3779b9 | 0; d = 1;
    for (let i = 0; i < 12; i++) next();
  };
  return { next, seed };
}

function flatten(scene) {
  const take = (pick) => Float64Array.from(scene.spheres, pick);
  return {
    length: scene.spheres.length,
    x: take((s) => s.center[0]), y: take((s) => s.center[1]), z: take((s) => s.center[2]), r: take((s) => s.radius),
    red: take((s) => s.color[0]), green: take((s) => s.color[1]), blue: take((s) => s.color[2]),
    kind: Uint8Array.from(scene.spheres, (s) => KINDS[s.kind]), rough: take((s) => s.rough), ior: take((s) => s.ior),
  };
}

/** A tree of boxes over the spheres, split at the middle of the longest side; leaves hold at most two. */
function buildTree(spheres) {
  const order = Array.from({ length: spheres.length }, (_, i) => i);
  const boxes = [], first = [], count = [];
  const build = (node, from, to) => {
    const box = [FAR, FAR, FAR, -FAR, -FAR, -FAR];
    for (let i = from; i < to; i++) {
      const s = order[i], center = [spheres.x[s], spheres.y[s], spheres.z[s]];
      for (let c = 0; c < 3; c++) {
        box[c] = Math.min(box[c], center[c] - spheres.r[s]);
        box[c + 3] = Math.max(box[c + 3], center[c] + spheres.r[s]);
      }
    }
    boxes.splice(node * 6, 6, ...box);
    if (to - from <= 2) {
      first[node] = from;
      count[node] = to - from;
      return;
    }
    const sides = [box[3] - box[0], box[4] - box[1], box[5] - box[2]];
    const along = [spheres.x, spheres.y, spheres.z][sides.indexOf(Math.max(...sides))];
    const part = order.slice(from, to).sort((p, q) => along[p] - along[q]);
    order.splice(from, part.length, ...part);
    const middle = (from + to) >> 1, left = first.length;
    first[node] = left;
    count[node] = 0;
    first.push(0, 0);
    count.push(0, 0);
    boxes.push(...Array(12).fill(0));
    build(left, from, middle);
    build(left + 1, middle, to);
  };
  first.push(0);
  count.push(0);
  boxes.push(...Array(6).fill(0));
  build(0, 0, order.length);
  return { boxes: Float64Array.from(boxes), first: Int32Array.from(first), count: Int32Array.from(count), order: Int32Array.from(order) };
}

function aim({ camera, width, height }) {
  const unit = (v) => { const l = Math.hypot(...v); return v.map((n) => n / l); };
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const forward = unit(camera.to.map((n, i) => n - camera.from[i]));
  const right = unit(cross(forward, [0, 1, 0]));
  return {
    from: camera.from, forward, right, up: cross(right, forward), aspect: width / height,
    tan: Math.tan((camera.fieldOfView * Math.PI) / 360), focus: camera.focus, aperture: camera.aperture,
  };
}

/** Fails the first time this is asked and never again, wherever the next attempt runs: a mark in the file store remembers. */
async function failsOnPurpose(mark) {
  if (!mark) return false;
  const seen = await fetch(mark.readUrl);
  await seen.arrayBuffer();
  if (seen.ok) return false;
  await put(mark.writeUrl, Buffer.from("tried\n"));
  return true;
}

async function put(url, bytes) {
  const answer = await fetch(url, { method: "PUT", body: bytes, headers: { "x-ms-blob-type": "BlockBlob" } });
  if (!answer.ok) throw new Error(`the file store answered ${answer.status}`);
  await answer.arrayBuffer();
}

async function main([sceneFile, tileName, outputsFile]) {
  const match = /^(\d+),(\d+)$/.exec(tileName ?? "");
  if (!sceneFile || !match) throw new Error('usage: node render.js SCENE.json "COLUMN,ROW" [OUTPUTS.json]');
  const started = performance.now();
  const scene = parseScene(readFileSync(sceneFile, "utf8"));
  const outputs = outputsFile && existsSync(outputsFile) ? JSON.parse(readFileSync(outputsFile, "utf8"))[tileName] : undefined;
  if (await failsOnPurpose(outputs?.failOnce)) {
    console.error(`Tile ${tileName} fails on purpose, this once: the scene says so.`);
    return 3;
  }
  const tile = renderTile(scene, Number(match[1]), Number(match[2]));
  const { pixels, ...place } = tile;
  const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(place)}\n`), pixels]);
  writeFileSync(tileFile(tileName), bytes);
  if (outputs?.writeUrl) await put(outputs.writeUrl, bytes);
  console.log(`Tile ${tileName}: ${tile.width}x${tile.height} pixels, ${scene.samples} rays each, ${Math.round(performance.now() - started)} ms`);
  return 0;
}

module.exports = { renderTile };

if (require.main === module) {
  main(process.argv.slice(2)).then(
    (code) => { process.exitCode = code; },
    (error) => { console.error(`render: ${error.message}`); process.exitCode = 1; },
  );
}
