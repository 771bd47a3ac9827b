// A client of recharged as an integrator would write it in JavaScript, with the
// public libraries of CloudEvents and NATS and nothing of ours: it sends events
// by every way in and reads the notifications that they must cause.
//
//   node client.mjs http://127.0.0.1:8080 nats://127.0.0.1:4222
//
// Prints TAP; the exit code is the number of failures, at most 99.

import assert from "node:assert/strict";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { CloudEvent, HTTP } from "cloudevents";

const [httpURL, natsURL] = process.argv.slice(2);
const NOTIFICATIONS = "recharged_notifications";
const WAIT = 10_000; // milliseconds for anything to arrive

let count = 0;
let failures = 0;

/** Runs one step and prints its TAP line. */
async function step(name, work) {
  count++;
  try {
    await work();
    console.log(`ok ${count} - ${name}`);
  } catch (err) {
    failures++;
    console.log(`not ok ${count} - ${name}`);
    console.log(String(err.stack ?? err).replace(/^/gm, "# "));
  }
}

const sent = []; // ids of the recharges that were accepted, each of which causes a notification

/** A recharge that the rulebook doubles, of a customer of its own. */
function recharge(amount = "350.00") {
  const n = sent.length;
  sent.push(`js-${n}`);
  return new CloudEvent({
    id: `js-${n}`,
    source: "/clients/javascript",
    type: "recharge",
    subject: `2136600000${String(n).padStart(2, "0")}`,
    time: new Date().toISOString(),
    datacontenttype: "application/json",
    data: { amount, channel: "app" },
  });
}

/** An event that the door must refuse. */
function refused() {
  const event = recharge("-1");
  sent.pop();
  return event.cloneWith({ id: "js-refused" });
}

/** Posts a message of the CloudEvents library. */
async function post(message) {
  const response = await fetch(`${httpURL}/v1/events`, { method: "POST", headers: message.headers, body: message.body });
  return { status: response.status, body: await response.json() };
}

function assertAcknowledged(reply, accepted) {
  assert.equal(reply.accepted, accepted);
  assert.deepEqual(reply.rejected, []);
  assert.match(reply.stream, /^recharged_in_\d+$/);
  assert.ok(Number.isInteger(reply.seq) && reply.seq > 0, `seq is ${reply.seq}`);
}

await step("HTTP: one event in structured mode", async () => {
  const { status, body } = await post(HTTP.structured(recharge()));
  assert.equal(status, 202);
  assertAcknowledged(body, 1);
});

await step("HTTP: one event in binary mode", async () => {
  const { status, body } = await post(HTTP.binary(recharge()));
  assert.equal(status, 202);
  assertAcknowledged(body, 1);
});

await step("HTTP: a batch", async () => {
  const events = [recharge(), recharge("500.50")];
  const { status, body } = await post({
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(events),
  });
  assert.equal(status, 202);
  assertAcknowledged(body, 2);
});

await step("HTTP: a refused event is answered with its reason", async () => {
  const { status, body } = await post(HTTP.structured(refused()));
  assert.equal(status, 422);
  assert.equal(body.accepted, 0);
  assert.equal(body.rejected.length, 1);
  const { index, id, reason } = body.rejected[0];
  assert.deepEqual({ index, id, reason }, { index: 0, id: "js-refused", reason: "bad_amount" });
});

const nc = await connect({ servers: natsURL, name: "clients-javascript" });
const js = jetstream(nc);
const jsm = await jetstreamManager(nc);

await step("NATS: a request with a JSON array", async () => {
  const reply = await nc.request("recharged.events", JSON.stringify([recharge(), recharge()]), { timeout: WAIT });
  assertAcknowledged(reply.json(), 2);
});

await step("NATS: a request in binary mode", async () => {
  const event = recharge();
  const h = headers();
  for (const name of ["specversion", "id", "source", "type", "subject", "time", "datacontenttype"]) {
    h.set(`ce-${name}`, event[name]);
  }
  const reply = await nc.request("recharged.events", JSON.stringify(event.data), { headers: h, timeout: WAIT });
  assertAcknowledged(reply.json(), 1);
});

await step("NATS: a JetStream publish is acknowledged", async () => {
  const ack = await js.publish("recharged.events.pos", JSON.stringify(recharge()), { timeout: WAIT });
  assert.match(ack.stream, /^recharged_in_\d+$/);
  assert.ok(ack.seq > 0);
  assert.ok(!ack.duplicate);
});

await step("NATS: a JetStream publish of a refused event fails with its reason", async () => {
  await assert.rejects(js.publish("recharged.events", JSON.stringify(refused()), { timeout: WAIT }), /bad_amount/);
});

/** Checks a notification with the CloudEvents library and returns it. */
function notification(m) {
  const event = new CloudEvent(m.json());
  assert.ok(event.validate());
  assert.equal(event.type, "recharged.notification");
  assert.equal(event.datacontenttype, "application/json");
  assert.equal(m.subject, "recharged.notifications.sms");
  assert.match(event.subject, /^2136600000\d\d$/);
  assert.ok(!Number.isNaN(Date.parse(event.time)));
  const { template, language, text, rule } = event.data;
  assert.deepEqual({ template, language, rule }, { template: "doubled", language: "fr", rule: "double-300" });
  assert.match(text, /^Vous avez rechargé (350|500\.50) DA\. /);
  return event;
}

function assertComplete(events) {
  assert.deepEqual(events.map((e) => e.data.event).sort(), [...sent].sort());
  assert.equal(new Set(events.map((e) => e.id)).size, events.length);
}

await step("NATS: an ordered consumer reads every notification once", async () => {
  const consumer = await js.consumers.get(NOTIFICATIONS, { filter_subjects: "recharged.notifications.>" });
  const messages = await consumer.consume();
  const timer = setTimeout(() => messages.stop(), WAIT);
  const events = [];
  for await (const m of messages) {
    events.push(notification(m));
    if (events.length === sent.length) {
      break;
    }
  }
  clearTimeout(timer);
  assertComplete(events);
});

await step("NATS: a durable pull consumer reads them too and goes on where it stopped", async () => {
  await jsm.consumers.add(NOTIFICATIONS, {
    durable_name: "clients-javascript",
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    filter_subject: "recharged.notifications.>",
  });
  const events = [];
  while (events.length < sent.length) {
    // Looked up anew each time, as after a restart of the client.
    const consumer = await js.consumers.get(NOTIFICATIONS, "clients-javascript");
    const m = await consumer.next({ expires: WAIT });
    assert.ok(m, `nothing came after ${events.length} of ${sent.length} notifications`);
    events.push(notification(m));
    assert.ok(await m.ackAck({ timeout: WAIT }));
  }
  assertComplete(events);
  const info = await jsm.consumers.info(NOTIFICATIONS, "clients-javascript");
  assert.equal(info.num_pending, 0);
  assert.equal(info.num_ack_pending, 0);
});

await nc.drain();
console.log(`1..${count}`);
process.exit(Math.min(failures, 99));
