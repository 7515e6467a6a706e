// Users of TVMs, and where they log in: the RDP file of the era, and what a client of SSH needs, which is an extra of this service.
import { accessOf, addTvmUser, deleteTvmUser, updateTvmUser } from "../../app/tvmUsers";
import { isRejection } from "../../domain/decider";
import type { Tvm } from "../../domain/tvm";
import { wireDate } from "../dates";
import { type Input, type Operation, operation } from "../operation";
import { tvmPath } from "./render";
import { addUserBody, updateUserBody, userOf } from "./schemas";

const USERS = "/pools/{pool}/tvms/{tvm}/users";
const USER = `${USERS}/{user}`;

const whereOf = ({ names }: Pick<Input, "names">) => ({ pool: names.pool as string, tvm: names.tvm as string });

/** Two lines, as the service wrote them: the address, and which instance is meant (reference 5.11). */
const rdpFile = (tvm: Tvm): string => {
  const instance = Number(/^tvm-\d+_(\d+)-/i.exec(tvm.name)?.[1] ?? 1) - 1;
  return `full address:s:${tvm.address}\r\nLoadBalanceInfo:s:Cookie: mstshash=TVM#TVM_IN_${instance}\r\n`;
};

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text, "utf8");
}

const SSH_PORT = 22;

const sshAccess = (tvm: Tvm, now: string) => ({
  host: tvm.address,
  port: SSH_PORT,
  platform: tvm.platform,
  // Whoever is on the same machine as the TVM gets there: an address in 127/8 is of the service's own machine.
  reachableFrom: tvm.address?.startsWith("127.") ? "the machine that the service runs on" : "the network of the pool",
  users: (tvm.users ?? []).filter(({ expiresAt }) => expiresAt > now).map(({ user, account, isAdmin, expiresAt }) => ({ name: user, account, isAdmin, expiryTime: wireDate(expiresAt) })),
});

export const tvmUsers: readonly Operation[] = [
  operation({
    name: "AddTVMUser",
    method: "POST",
    path: USERS,
    action: "tvm.change",
    version: "classic",
    body: "required",
    schema: addUserBody,
    run: async (input) => {
      const user = userOf(input.body.name, input.body, input.call.at);
      if (isRejection(user)) return user;
      const outcome = await addTvmUser(input.ports, input.call, whereOf(input), user);
      const { pool, tvm } = whereOf(input);
      const id = `${input.base}${tvmPath(pool, tvm)}/users/${user.name}`;
      return isRejection(outcome) ? outcome : { status: 201, headers: { Location: id, DataServiceId: id } };
    },
  }),
  operation({
    name: "UpdateTVMUser",
    method: "PUT",
    path: USER,
    action: "tvm.change",
    version: "classic",
    body: "required",
    schema: updateUserBody,
    run: async (input) => {
      const user = userOf(input.names.user as string, input.body, input.call.at);
      if (isRejection(user)) return user;
      const outcome = await updateTvmUser(input.ports, input.call, whereOf(input), user);
      return isRejection(outcome) ? outcome : { status: 200 };
    },
  }),
  operation({
    name: "DeleteTVMUser",
    method: "DELETE",
    path: USER,
    action: "tvm.change",
    version: "classic",
    run: async (input) => {
      const outcome = await deleteTvmUser(input.ports, input.call, whereOf(input), input.names.user as string);
      return isRejection(outcome) ? outcome : { status: 200 };
    },
  }),
  operation({
    name: "GetTVMRdpFile",
    method: "GET",
    path: "/pools/{pool}/tvms/{tvm}/rdp",
    action: "tvm.read",
    version: "classic",
    run: async (input) => {
      const tvm = await accessOf(input.ports, input.call, whereOf(input));
      if (isRejection(tvm)) return tvm;
      const text = rdpFile(tvm);
      return { status: 200, headers: { "Content-Type": "application/octet-stream", "Content-Length": String(Buffer.byteLength(text)) }, bytes: bytesOf(text) };
    },
  }),
  operation({
    name: "GetTVMSsh",
    method: "GET",
    path: "/pools/{pool}/tvms/{tvm}/ssh",
    action: "tvm.read",
    version: "classic",
    run: async (input) => {
      const tvm = await accessOf(input.ports, input.call, whereOf(input));
      return isRejection(tvm) ? tvm : { status: 200, json: sshAccess(tvm, input.call.at) };
    },
  }),
];
