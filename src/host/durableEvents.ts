// Makes and reads the history events of the durable protocol. Pure.

import { eventType } from "./replay";
import type { HistoryEvent } from "./replay";

/** An event of this turn. */
export function protocolEvent(type: number, atMs: number, more: Record<string, unknown> = {}): HistoryEvent {
  return { EventType: type, EventId: -1, IsPlayed: false, Timestamp: new Date(atMs).toISOString(), ...more };
}

/** The first event of a generation; `input` is JSON. */
export function startedEvent(instance: { id: string; name: string }, exec: string, input: string, atMs: number): HistoryEvent {
  return protocolEvent(eventType.executionStarted, atMs, {
    OrchestrationInstance: { InstanceId: instance.id, ExecutionId: exec },
    ParentInstance: null,
    Name: instance.name,
    Version: "",
    Input: input,
    Tags: null,
  });
}

/** As it is stored: by the time it is read, its turn is over. */
export const played = (event: HistoryEvent): HistoryEvent => ({ ...event, IsPlayed: true });

export const parseEvent = (text: string): HistoryEvent => JSON.parse(text) as HistoryEvent;

/** The events of one stored turn. */
export const parseTurn = (texts: string): HistoryEvent[] => JSON.parse(`[${texts}]`) as HistoryEvent[];
