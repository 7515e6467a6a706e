// Signatures in file addresses: sealed before anything is stored, opened only for the TVM that runs the attempt.
import type { TaskFile } from "../domain/task";
import type { Ports } from "../ports";

const SIGNATURES = /([?&]sig=)[^&#]*/gi;

export const sealFiles = (
  ports: Pick<Ports, "sealer">,
  account: string,
  files: readonly Pick<TaskFile, "blobSource" | "filePath">[],
): readonly TaskFile[] =>
  files.map(({ blobSource, filePath }) => {
    const shown = blobSource.replace(SIGNATURES, "$1REDACTED");
    return shown === blobSource ? { blobSource, filePath } : { blobSource: shown, filePath, sealed: ports.sealer.seal(blobSource, account) };
  });

export const openFiles = (
  ports: Pick<Ports, "sealer">,
  account: string,
  files: readonly TaskFile[] = [],
): { blobSource: string; filePath: string }[] =>
  files.map(({ blobSource, filePath, sealed }) => ({ filePath, blobSource: sealed === undefined ? blobSource : ports.sealer.open(sealed, account) }));
