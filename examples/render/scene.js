// What a scene file holds, for the renderer, the assembler and whoever starts them. Reads text, never touches a file.
"use strict";

/** A scene with every default filled in. Throws an Error that names what is wrong. */
function parseScene(text) {
  const raw = JSON.parse(text);
  const scene = { samples: 16, depth: 6, seed: 1, exposure: 1, lights: [], spheres: [], ...raw };
  for (const name of ["width", "height", "columns", "rows", "samples"]) {
    if (!Number.isInteger(scene[name]) || scene[name] < 1 || scene[name] > 20000) throw new Error(`scene: ${name} must be a whole number from 1 to 20000`);
  }
  if (scene.columns > scene.width || scene.rows > scene.height) throw new Error("scene: more tiles than pixels");
  if (!scene.camera) throw new Error("scene: camera is missing");
  scene.sky = { horizon: [1, 1, 1], zenith: [0.4, 0.6, 1], falloff: 0.6, ...scene.sky };
  scene.sky.sun = { direction: [0, 1, 0], color: [0, 0, 0], width: 50, ...scene.sky.sun };
  const length = Math.hypot(...scene.sky.sun.direction);
  scene.sky.sun.direction = scene.sky.sun.direction.map((n) => n / length);
  if (scene.plane) scene.plane = { y: 0, size: 1, rough: 0, haze: 0, ...scene.plane, kind: scene.plane.kind === "gloss" ? 1 : 0 };
  scene.spheres = scene.spheres.map((sphere) => ({ kind: "matte", color: [1, 1, 1], rough: 0, ior: 1.5, ...sphere }));
  if (scene.spheres.length === 0) throw new Error("scene: spheres is empty");
  return scene;
}

/** Where a tile lies in the picture, in pixels. Tiles differ by a pixel where the size does not divide. */
function tileOf(scene, column, row) {
  if (column >= scene.columns || row >= scene.rows) throw new Error(`scene: there is no tile ${column},${row}`);
  const x = Math.floor((column * scene.width) / scene.columns), y = Math.floor((row * scene.height) / scene.rows);
  return {
    x, y,
    width: Math.floor(((column + 1) * scene.width) / scene.columns) - x,
    height: Math.floor(((row + 1) * scene.height) / scene.rows) - y,
  };
}

/** The names of all tiles ("column,row"), row by row. */
function tileNames(scene) {
  return Array.from({ length: scene.columns * scene.rows }, (_, i) => `${i % scene.columns},${Math.floor(i / scene.columns)}`);
}

/** The file a tile is kept in. */
const tileFile = (name) => `tile-${name.replace(",", "-")}.rgb`;

module.exports = { parseScene, tileOf, tileNames, tileFile };
