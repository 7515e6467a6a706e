// Puts the tiles of a scene together and writes them as a PNG file.
//   node assemble.js SCENE.json PICTURE.png        the tiles (tile-COLUMN-ROW.rgb) lie in the working directory
// A missing or damaged tile is an error: a picture with a hole is never written.
"use strict";
const { readFileSync, writeFileSync } = require("node:fs");
const { crc32, deflateSync } = require("node:zlib");
const { parseScene, tileOf, tileNames, tileFile } = require("./scene");

/** The whole picture, three bytes a pixel; `read` answers the bytes of a tile's file. */
function assemble(scene, read) {
  const picture = Buffer.alloc(scene.width * scene.height * 3);
  for (const name of tileNames(scene)) {
    const [column, row] = name.split(",").map(Number);
    const bytes = read(tileFile(name));
    const end = bytes.indexOf(10);
    const tile = JSON.parse(bytes.subarray(0, end).toString("utf8"));
    const expected = tileOf(scene, column, row);
    const pixels = bytes.subarray(end + 1);
    const fits = ["x", "y", "width", "height"].every((key) => tile[key] === expected[key]);
    if (!fits || pixels.length !== tile.width * tile.height * 3) throw new Error(`${tileFile(name)} does not belong to this scene`);
    for (let y = 0; y < tile.height; y++) {
      pixels.copy(picture, ((tile.y + y) * scene.width + tile.x) * 3, y * tile.width * 3, (y + 1) * tile.width * 3);
    }
  }
  return picture;
}

/** A PNG file: signature, header, one compressed data chunk, end. Colour type 2 is eight bits each of red, green, blue. */
function encodePng(pixels, width, height) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header), chunk("IDAT", deflateSync(filterRows(pixels, width, height), { level: 9 })), chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(checksum(body), body.length + 4);
  return out;
}

/** zlib has crc32 since Node 22.2; a TVM may have an older one. */
const checksum = crc32 ?? ((bytes) => {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return (sum ^ 0xffffffff) >>> 0;
});

/** Each row as the difference from its left neighbour (filter 1): smooth pictures compress better. */
function filterRows(pixels, width, height) {
  const stride = width * 3;
  const out = Buffer.alloc((stride + 1) * height);
  for (let y = 0; y < height; y++) {
    const to = y * (stride + 1);
    out[to] = 1;
    for (let i = 0; i < stride; i++) out[to + 1 + i] = pixels[y * stride + i] - (i < 3 ? 0 : pixels[y * stride + i - 3]);
  }
  return out;
}

module.exports = { assemble, encodePng };

if (require.main === module) {
  try {
    const [sceneFile, output] = process.argv.slice(2);
    if (!sceneFile || !output) throw new Error("usage: node assemble.js SCENE.json PICTURE.png");
    const scene = parseScene(readFileSync(sceneFile, "utf8"));
    writeFileSync(output, encodePng(assemble(scene, (file) => readFileSync(file)), scene.width, scene.height));
    console.log(`${output}: ${scene.width}x${scene.height} from ${scene.columns * scene.rows} tiles`);
  } catch (error) {
    console.error(`assemble: ${error.message}`);
    process.exitCode = 1;
  }
}
