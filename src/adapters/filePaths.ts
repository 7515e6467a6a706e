// Which paths a file of the embedded blob store may have, and what type its name suggests. Pure: it looks at text alone.

const pathCharactersMax = 1_024;
const segmentBytesMax = 255;
const containerName = /^(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$/;
const windowsDevice = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)/i;

/**
 * Why `container/name...` cannot be a path, or undefined when it can. Never quotes the path. Names that some file system
 * reads as something else (drives, devices, backslashes, dots at the end) are refused on all of them, so that data can move.
 */
export function pathProblem(file: string): string | undefined {
  const [container = "", ...segments] = file.split("/");
  if (file.length > pathCharactersMax) return `it is longer than ${pathCharactersMax} characters`;
  if (!containerName.test(container)) return "its container's name is not 3 to 63 of a-z, 0-9 and single dashes between them";
  if (segments.length === 0) return "it names a container only";
  for (const segment of segments) {
    const problem = segmentProblem(segment);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function segmentProblem(segment: string): string | undefined {
  if (segment === "") return "a part of it is empty";
  if (segment === "." || segment === "..") return "a part of it is . or ..";
  if (Buffer.byteLength(segment) > segmentBytesMax) return `a part of it is longer than ${segmentBytesMax} bytes`;
  if (/[\p{Cc}\p{Cs}\\]/u.test(segment)) return "it has a control character, half a character or a backslash";
  if (/^[a-zA-Z]:/.test(segment)) return "a part of it is a drive";
  if (/[. ]$/.test(segment)) return "a part of it ends with a dot or a space";
  return windowsDevice.test(segment) ? "a part of it names a device" : undefined;
}

const typesByExtension: Readonly<Record<string, string>> = {
  txt: "text/plain", log: "text/plain", csv: "text/csv", md: "text/markdown", html: "text/html", css: "text/css",
  js: "text/javascript", json: "application/json", xml: "application/xml", pdf: "application/pdf", zip: "application/zip",
  gz: "application/gzip", tar: "application/x-tar", png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg",
  gif: "image/gif", svg: "image/svg+xml",
};

/** The content type of a file that was put without one. */
export function typeByName(file: string): string {
  const extension = /\.([a-z0-9]{1,8})$/i.exec(file)?.[1]?.toLowerCase() ?? "";
  return Object.hasOwn(typesByExtension, extension) ? typesByExtension[extension]! : "application/octet-stream";
}
