// The programs of the examples by themselves: renderer, assembler, word counter, clean-up.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { inflateSync } from "node:zlib";

const EXAMPLES = path.resolve(__dirname, "../../examples");
const { renderTile } = require(path.join(EXAMPLES, "render/render.js")) as { renderTile: (scene: Scene, column: number, row: number) => Tile };
const { parseScene, tileNames, tileOf, tileFile } = require(path.join(EXAMPLES, "render/scene.js")) as {
  parseScene: (text: string) => Scene; tileNames: (scene: Scene) => string[]; tileOf: (scene: Scene, column: number, row: number) => Omit<Tile, "pixels">; tileFile: (name: string) => string;
};
const { assemble, encodePng } = require(path.join(EXAMPLES, "render/assemble.js")) as { assemble: (scene: Scene, read: (file: string) => Buffer) => Buffer; encodePng: (pixels: Buffer, width: number, height: number) => Buffer };
const { countWords } = require(path.join(EXAMPLES, "wordcount/count.js")) as { countWords: (text: string) => Map<string, number> };
const { mergeCounts } = require(path.join(EXAMPLES, "wordcount/merge.js")) as { mergeCounts: (all: object[]) => [string, number][] };
const { cleanUp } = require(path.join(EXAMPLES, "cleanup/cleanup.js")) as { cleanUp: (folder: string, before: number, dryRun: boolean) => { deleted: string[]; bytes: number; failed: string[] } };

interface Scene { width: number; height: number; columns: number; rows: number; samples: number; failOnce?: string }
interface Tile { x: number; y: number; width: number; height: number; pixels: Buffer<ArrayBufferLike> }

const full = readFileSync(path.join(EXAMPLES, "render/scene.json"), "utf8");
const small = (changes: object = {}) => parseScene(JSON.stringify({ ...(JSON.parse(full) as object), width: 48, height: 32, columns: 3, rows: 2, samples: 4, ...changes }));

describe("renderer", () => {
  test("a tile is the same bytes every time, and its own part of the picture", () => {
    const scene = small();
    const tile = renderTile(scene, 1, 1);
    expect({ ...tile, pixels: tile.pixels.length }).toEqual({ x: 16, y: 16, width: 16, height: 16, pixels: 768 });
    expect(renderTile(small(), 1, 1).pixels.equals(tile.pixels)).toBe(true);
    expect(renderTile(small({ seed: 2 }), 1, 1).pixels.equals(tile.pixels)).toBe(false);
    // The whole picture at once has the same pixels as tile by tile: no tile depends on how the picture is cut.
    const whole = renderTile(small({ columns: 1, rows: 1 }), 0, 0).pixels;
    for (let y = 0; y < 16; y++) {
      expect(whole.subarray(((16 + y) * 48 + 16) * 3, ((16 + y) * 48 + 32) * 3).equals(tile.pixels.subarray(y * 48, (y + 1) * 48))).toBe(true);
    }
  });

  test("the picture has light and dark and colour", () => {
    const { pixels } = renderTile(small({ columns: 1, rows: 1 }), 0, 0);
    const brightness = Array.from({ length: pixels.length / 3 }, (_, at) => (pixels[at * 3] as number) + (pixels[at * 3 + 1] as number) + (pixels[at * 3 + 2] as number));
    expect(Math.max(...brightness)).toBeGreaterThan(600);
    expect(Math.min(...brightness)).toBeLessThan(150);
    expect(new Set(Array.from(pixels)).size).toBeGreaterThan(150);
  });

  test("a sphere is where geometry says", () => {
    const scene = parseScene(JSON.stringify({
      width: 21, height: 21, columns: 1, rows: 1, samples: 1, sky: { horizon: [0, 0, 1], zenith: [0, 0, 1] },
      camera: { from: [0, 0, 10], to: [0, 0, 0], fieldOfView: 60, focus: 10, aperture: 0 },
      lights: [{ center: [0, 0, 40], radius: 1, color: [2000, 0, 0] }], spheres: [{ center: [0, 0, 0], radius: 2, color: [1, 0, 0] }],
    }));
    const { pixels } = renderTile(scene, 0, 0);
    const at = (x: number, y: number) => [...pixels.subarray((y * 21 + x) * 3, (y * 21 + x) * 3 + 3)] as [number, number, number];
    expect(at(10, 10)[0]).toBeGreaterThan(200);
    expect(at(10, 10)[2]).toBeLessThan(60);
    for (const [x, y] of [[0, 0], [20, 10], [10, 2]] as const) expect(at(x, y)).toEqual([0, 0, at(x, y)[2]]);
    // radius 2 seen from 10 with 60 degrees over 21 pixels: 3.6 pixels
    const row = Array.from({ length: 21 }, (_, x) => at(x, 10)[0] > 20);
    expect(row.filter(Boolean).length).toBeGreaterThanOrEqual(6);
    expect(row.filter(Boolean).length).toBeLessThanOrEqual(8);
  });

  test("tiles cover the picture once, whatever the sizes", () => {
    const scene = small({ width: 50, height: 31, columns: 7, rows: 3 });
    const seen = new Uint8Array(50 * 31);
    for (const name of tileNames(scene)) {
      const [column, row] = name.split(",").map(Number) as [number, number];
      const { x, y, width, height } = tileOf(scene, column, row);
      for (let line = y; line < y + height; line++) for (let pixel = x; pixel < x + width; pixel++) seen[line * 50 + pixel]!++;
    }
    expect(seen.every((count) => count === 1)).toBe(true);
  });

  test("the demo's scene is one that can be rendered, and names a tile that fails once", () => {
    const scene = parseScene(full);
    expect([scene.width, scene.height]).toEqual([960, 640]);
    expect(tileNames(scene)).toContain(scene.failOnce);
    for (const broken of ["{}", "[]", '{"width":0}', '{"width":10,"height":10,"columns":20,"rows":1}']) expect(() => parseScene(broken)).toThrow("scene:");
  });

  test("tiles become a PNG that holds exactly their pixels", () => {
    const scene = small();
    const tiles = new Map(tileNames(scene).map((name): [string, Buffer] => {
      const [column, row] = name.split(",").map(Number) as [number, number];
      const { pixels, ...place } = renderTile(scene, column, row);
      return [tileFile(name), Buffer.concat([Buffer.from(`${JSON.stringify(place)}\n`), pixels])];
    }));
    const picture = assemble(scene, (file) => tiles.get(file) as Buffer);
    expect(picture.equals(renderTile(small({ columns: 1, rows: 1 }), 0, 0).pixels)).toBe(true);
    const { width, height, pixels } = decodePng(encodePng(picture, 48, 32));
    expect([width, height]).toEqual([48, 32]);
    expect(pixels.equals(picture)).toBe(true);
    tiles.set(tileFile("0,0"), tiles.get(tileFile("1,0")) as Buffer);
    expect(() => assemble(scene, (file) => tiles.get(file) as Buffer)).toThrow("tile-0-0.rgb does not belong to this scene");
  });
});

/** Reads back what the encoder writes: eight bits a channel, filter 1 in every row. Checks every chunk's checksum. */
function decodePng(file: Buffer): { width: number; height: number; pixels: Buffer } {
  expect(file.subarray(0, 8).toString("hex")).toBe("89504e470d0a1a0a");
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const body = file.subarray(at + 4, at + 8 + length);
    expect(file.readUInt32BE(at + 8 + length)).toBe(crc(body));
    chunks.set(body.subarray(0, 4).toString("latin1"), body.subarray(4));
    at += 12 + length;
  }
  expect([...chunks.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
  const header = chunks.get("IHDR") as Buffer;
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const rows = inflateSync(chunks.get("IDAT") as Buffer);
  const pixels = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    expect(rows[y * (width * 3 + 1)]).toBe(1);
    for (let i = 0; i < width * 3; i++) {
      const left = i < 3 ? 0 : (pixels[y * width * 3 + i - 3] as number);
      pixels[y * width * 3 + i] = ((rows[y * (width * 3 + 1) + 1 + i] as number) + left) & 255;
    }
  }
  return { width, height, pixels };
}

function crc(bytes: Buffer): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}

describe("word count", () => {
  test("words are letters of any language, in lower case", () => {
    expect(Object.fromEntries(countWords("The cat's cat, THE café. 바다는 바다는 x-ray 42"))).toEqual({ the: 2, "cat's": 1, cat: 1, café: 1, 바다는: 2, "x-ray": 1 });
    expect(countWords("").size).toBe(0);
  });

  test("counts add up, most frequent first, then by alphabet", () => {
    expect(mergeCounts([{ b: 1, a: 2 }, { b: 1, c: 1, constructor: 1 }])).toEqual([["a", 2], ["b", 2], ["c", 1], ["constructor", 1]]);
  });
});

describe("clean-up", () => {
  let folder: string;
  const at = (name: string) => path.join(folder, name);
  const file = (name: string, daysOld: number) => {
    mkdirSync(path.dirname(at(name)), { recursive: true });
    writeFileSync(at(name), createHash("sha1").update(name).digest());
    const time = Date.now() / 1000 - daysOld * 86_400;
    utimesSync(at(name), time, time);
  };
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "batchledger-cleanup-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test("old files go, young ones stay, folders emptied by that go too", () => {
    file("old.log", 10);
    file("young.log", 1);
    file("sub/deep/old.bin", 8);
    file("mixed/old", 30);
    file("mixed/young", 0);
    mkdirSync(at("empty"));
    const outside = mkdtempSync(path.join(tmpdir(), "batchledger-outside-"));
    writeFileSync(path.join(outside, "kept"), "");
    utimesSync(path.join(outside, "kept"), 1, 1);
    symlinkSync(outside, at("link"));
    const before = Date.now() - 7 * 86_400_000;
    const dry = cleanUp(folder, before, true);
    expect(dry.deleted.sort()).toEqual(["mixed/old", "old.log", "sub/deep/old.bin"]);
    expect(existsSync(at("old.log"))).toBe(true);
    expect(cleanUp(folder, before, false)).toEqual({ deleted: expect.arrayContaining(dry.deleted), bytes: 60, failed: [] });
    expect(["old.log", "young.log", "sub", "mixed/old", "mixed/young", "empty", "link"].filter((name) => existsSync(at(name)))).toEqual(["young.log", "mixed/young", "empty", "link"]);
    expect(existsSync(path.join(outside, "kept"))).toBe(true);
    rmSync(outside, { recursive: true });
    expect(cleanUp(folder, before, false).deleted).toEqual([]);
  });
});
