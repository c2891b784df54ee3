// The dashboard: hears the live feed and shows each snapshot; asks the API for workers and blocked addresses. It only reads.
// Whatever others say (miners, pools) becomes text, never markup. The names `view`, `pool`, `shard`, `worker`, `block`,
// `note`, `list` and `history` stand for answers of the proxy and nothing else: a test looks up each field that is read of them.

import { Chart } from "./dashboard-chart.js";
import { bytes, count, duration, hashrate, large, milliseconds, percent, perSecond, short, words } from "./dashboard-format.js";
import { empty, fill, show } from "./dashboard-table.js";

/** Hashes that a share of difficulty 1 stands for. */
const HASHES = 2 ** 32;
/** How far back the charts go, and over which times they take means. */
const [KEPT_MS, HASHRATE_MS, SHARES_MS] = [15 * 60_000, 60_000, 10_000];
/** Without a snapshot for so long, the figures are old; then the feed is opened anew, more and more rarely. */
const [STALE_MS, REOPEN_MS, PAUSE_MAX_MS] = [5_000, 15_000, 30_000];
const [ASK_EVERY_MS, ASK_TIMEOUT_MS, PAGE, BLOCKS] = [5_000, 10_000, 20, 50];
/** A shard reports twice a second. */
const SHARD_SILENT_SECONDS = 5;

const at = (id) => document.getElementById(id);
const good = { healthy: "good", ready: "good" };
const tone = (state) => good[state] ?? (state === "failed" ? "bad" : "warn");
const pill = (state) => ({ text: state, pill: tone(state) });

// ---- The feed

let feed = null;
let heard = performance.now();
let opened = heard;
let pause = 1_000;
let timer = null;
let why = "";

function open() {
  clearTimeout(timer);
  timer = null;
  feed?.close();
  opened = performance.now();
  feed = new EventSource("/metrics/events");
  feed.addEventListener("snapshot", (event) => hear(JSON.parse(event.data)));
  // A broken connection is made again by the browser; one that was refused is not.
  feed.addEventListener("error", () => feed.readyState === EventSource.CLOSED && reopen());
}

async function reopen() {
  if (timer !== null) return;
  timer = setTimeout(open, pause);
  pause = Math.min(PAUSE_MAX_MS, pause * 2);
  why = await ask("/api/v1/status").then(() => "", (error) => error.message);
}

function hear(view) {
  heard = performance.now();
  [pause, why] = [1_000, ""];
  remember(view);
  showView(view);
  look();
}

/** Says whether the figures are of now. */
function look() {
  const age = performance.now() - heard;
  const isStale = age > STALE_MS;
  document.body.classList.toggle("stale", isStale);
  at("feed").className = `feed ${isStale ? "bad" : "good"}`;
  show("feed", isStale ? `stale for ${duration(age / 1000)}` : "live");
  at("notice").hidden = !isStale;
  if (isStale) {
    // Without a time: a screen reader reads it out whenever it changes.
    show("notice", `The proxy tells no figures: what you see is old. Connecting again. ${why}`);
    at("state").className = "pill warn";
    show("state", "unknown");
    document.title = "stale · loka-stratum";
  }
  const isStuck = isStale && performance.now() - opened > REOPEN_MS;
  if (isStuck && timer === null && feed.readyState !== EventSource.CLOSED) open();
}

// ---- What the charts show: what the proxy remembers, and then what is heard

let counted = [];
let samples = [];
let newest = null;
/** Steps that the proxy remembers: when each ended, how long it is, and what came a second in it. */
let past = [];

/** What came within the steps that ended after `from` and by `to`, and how long they are. */
function remembered(key, from, to) {
  const steps = past.filter((one) => one.at > from && one.at <= to);
  const sum = (what) => steps.reduce((all, one) => all + what(one), 0);
  return { came: sum((one) => (one[key] * one.ms) / 1000), ms: sum((one) => one.ms) };
}

/** Over so much time it came; null where less than a sixth of `ms` is known, which says nothing. */
const perTime = (came, passed, ms) => (passed < ms / 6 ? null : Math.max(0, came) / (passed / 1000));

/** The mean of a counter a second, over the last `ms`, of which the proxy remembers what this page has not heard. */
function mean(key, ms) {
  const last = counted.at(-1);
  const first = counted.find((moment) => last.at - moment.at <= ms);
  const before = remembered(key, last.at - ms, first.at);
  return perTime(last[key] - first[key] + before.came, last.at - first.at + before.ms, ms);
}

const sampleAt = (at, of) => ({
  at, hashrate: of("work", HASHRATE_MS), accepted: of("accepted", SHARES_MS), rejected: of("rejected", SHARES_MS),
  refused: of("refused", SHARES_MS),
});

/** Asks for what was before this page: its charts are full at once. Without an answer they begin now. */
async function recall() {
  const history = await ask("/api/v1/history?metric=hashrate,accepted,rejected,refused&range=15m").catch(() => null);
  if (history === null) return;
  past = history.unix_milliseconds.map((at, n) => ({
    at, ms: history.step_seconds * 1000, work: history.series.hashrate[n], accepted: history.series.accepted[n],
    rejected: history.series.rejected[n], refused: history.series.refused[n],
  }));
  const mine = (at) => (key, ms) => {
    const { came, ms: passed } = remembered(key, at - ms, at);
    return perTime(came, passed, ms);
  };
  const begun = samples.at(0)?.at ?? Infinity;
  samples = [...past.filter((one) => one.at < begun).map((one) => sampleAt(one.at, mine(one.at))), ...samples];
}

function remember(view) {
  const shares = {
    at: view.unix_milliseconds,
    work: view.shares.accepted_difficulty * HASHES,
    accepted: view.shares.accepted,
    rejected: view.shares.rejected,
    refused: view.shares.refused,
  };
  // A proxy that was started again counts from the beginning, and a clock may be set back.
  const isAnew = newest !== null && (view.uptime_seconds < newest.uptime || shares.at <= newest.at);
  if (isAnew) [counted, samples, past] = [[], [], []];
  newest = { uptime: view.uptime_seconds, at: shares.at };
  counted.push(shares);
  const isKept = (moment) => shares.at - moment.at <= KEPT_MS;
  counted = counted.filter((moment) => shares.at - moment.at <= HASHRATE_MS);
  samples = samples.filter(isKept);
  samples.push(sampleAt(shares.at, mean));
}

const hashrateChart = new Chart(
  at("hashrate-chart"), "Hashrate", [{ key: "hashrate", label: "mean of a minute", color: "c1" }], hashrate);
const sharesChart = new Chart(at("shares-chart"), "Shares", [
  { key: "accepted", label: "accepted", color: "c1" },
  { key: "rejected", label: "rejected by pools", color: "c2" },
  { key: "refused", label: "refused here", color: "c3" },
], perSecond);

// ---- A snapshot

function showView(view) {
  const last = samples.at(-1);
  const rate = last.hashrate === null ? "–" : hashrate(last.hashrate);
  show("version", view.version);
  at("state").className = `pill ${tone(view.state)}`;
  show("state", view.state);
  show("uptime", duration(view.uptime_seconds));
  document.title = `${view.state} · ${rate} · loka-stratum`;
  show("hashrate", rate);
  const known = samples.find((sample) => sample.hashrate !== null)?.at ?? counted[0].at;
  const covered = Math.round(Math.max(counted.at(-1).at - counted[0].at, Math.min(HASHRATE_MS, counted.at(-1).at - known)) / 1000);
  show("hashrate-more", last.hashrate === null ? "a mean in 10 s" : `mean of the last ${covered > 55 ? "minute" : `${covered} s`}`);
  show("miners", count(view.connections.active));
  const waiting = view.miners_waiting > 0 ? `, ${count(view.miners_waiting)} wait for a pool` : "";
  show("miners-more", `${count(view.workers)} workers known${waiting}`);
  show("accepted", last.accepted === null ? "–" : perSecond(last.accepted));
  show("accepted-more", `${count(view.shares.accepted)} since the start`);
  showRejected(view, last);
  const answers = view.performance.response_time_ms;
  show("answer", answers.count > 0 ? milliseconds(answers.p50) : "–");
  show("answer-more", answers.count > 0 ? `median; 99 % below ${milliseconds(answers.p99)}` : "no share was answered yet");
  show("cpu", `${short(view.performance.cpu_usage)} %`);
  show("cpu-more", `of one CPU; memory ${bytes(view.performance.memory_usage)}`);
  hashrateChart.draw(samples);
  sharesChart.draw(samples);
  fill("pools", view.pools.map(poolRow), "No pool is configured.");
  fill("shards", view.shards.map(shardRow), "No shard has been started.");
  fill("reasons", reasonRows(view), "Nothing was rejected. Reasons of pools and of the proxy would stand here.");
  fill("ended", endedRows(view), "No connection has ended yet.");
  fill("events", view.events.map(noteRow),
    "Nothing has happened yet. Changes of pools and shards, blocks that are found, and addresses that are kept out would stand here.");
  show("blocks-count", view.blocked_addresses > 0 ? `${count(view.blocked_addresses)} now` : "");
}

function showRejected(view, last) {
  const bad = view.shares.rejected + view.shares.refused;
  show("rejected", percent(bad, bad + view.shares.accepted));
  const lately = last.accepted === null ? null : last.rejected + last.refused;
  const now = lately === null ? "" : `; ${percent(lately, lately + last.accepted)} in the last 10\u00a0s`;
  show("rejected-more", `of all${now}`);
}

function poolRow(pool) {
  const answered = pool.shares_accepted + pool.shares_rejected;
  const rejected = `${count(pool.shares_rejected)} (${percent(pool.shares_rejected, answered)})`;
  return [
    { text: pool.name, kind: "name strong" }, pill(pool.state), { text: pool.cause || "–", kind: pool.cause ? "wrap" : "" },
    duration(pool.state_seconds), count(pool.connections), count(pool.shares_accepted), rejected,
    count(pool.priority), count(pool.weight), pool.endpoint,
  ];
}

function shardRow(shard) {
  const age = shard.report_age_seconds;
  const isSilent = age === null || age > SHARD_SILENT_SECONDS;
  return [
    `shard ${shard.shard}`, shard.cpu === null ? "–" : `${shard.cpu}`,
    { text: `${(100 * shard.busy_ratio).toFixed(0)} %`, meter: shard.busy_ratio },
    count(shard.connections), count(shard.pool_links), bytes(shard.queued_bytes),
    { text: age === null ? "none yet" : `${age.toFixed(1)} s ago`, tone: isSilent ? "bad" : "" },
  ];
}

function reasonRows(view) {
  const by = (who, reasons) => Object.entries(reasons).map(([reason, n]) => ({ reason, who, n }));
  const all = [...by("pool", view.shares.rejected_by_reason), ...by("proxy", view.messages.refused_by_reason)];
  const total = all.reduce((sum, one) => sum + one.n, 0);
  return all.sort((a, b) => b.n - a.n).map(({ reason, who, n }) => [
    words(reason), who, count(n), { text: percent(n, total), meter: n / total, kind: "part" },
  ]);
}

function endedRows(view) {
  const all = Object.entries(view.connections.ended).sort((a, b) => b[1] - a[1]);
  const total = all.reduce((sum, [, n]) => sum + n, 0);
  return all.map(([reason, n]) => [words(reason), count(n), { text: percent(n, total), meter: n / total, kind: "part" }]);
}

const noteRow = (note) => [
  new Date(note.unix_seconds * 1000).toLocaleString(), words(note.kind), { text: note.text, kind: "wrap" },
];

// ---- What is asked for

/** The proxy answered, and said no. */
class Refused extends Error {}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
  if (answer.ok) return answer.json();
  // What stands between may answer with no JSON.
  const told = await answer.json().catch(() => ({ error: answer.statusText }));
  throw new Refused(`${answer.status}: ${told.error}`);
}

const orders = {
  hashrate: { sort: "hashrate_1m" },
  rejects: { sort: "rejects" },
  best: { sort: "best_share" },
  silent: { sort: "last_share", order: "asc" },
  name: { sort: "name" },
};
let skipped = 0;
let asked = 0;

async function askWorkers() {
  asked += 1;
  const mine = asked;
  const wanted = new URLSearchParams({ ...orders[at("workers-order").value], offset: skipped, limit: PAGE });
  const search = at("workers-search").value.trim();
  if (search !== "") wanted.set("search", search);
  try {
    const list = await ask(`/api/v1/workers?${wanted}`);
    // Somebody may have asked for others meanwhile.
    if (mine === asked) showWorkers(list, search);
  } catch (error) {
    // Without an answer the old ones stay: the page says that they are old.
    if (mine === asked && error instanceof Refused) empty("workers", `The workers cannot be shown: ${error.message}`);
  }
}

function showWorkers(list, search) {
  if (list.items.length === 0 && skipped > 0) {
    skipped = 0;
    askWorkers();
    return;
  }
  fill("workers", list.items.map(workerRow),
    search === "" ? "No worker yet. A worker stands here from its first authorization on." : `No worker has “${search}” in its name.`);
  const last = skipped + list.items.length;
  show("workers-range", last === 0 ? "" : `${count(skipped + 1)}–${count(last)} of ${count(list.total)}`);
  at("workers-back").disabled = skipped === 0;
  at("workers-next").disabled = last >= list.total;
}

const reasons = (by) => Object.entries(by).map(([reason, n]) => `${words(reason)}: ${count(n)}`).join("\n");
const problem = (n, by) => ({ text: count(n), title: reasons(by), tone: n > 0 ? "bad" : "" });

/** The hardest share, with that of the last day when one points at it. */
function best(worker) {
  if (worker.best_difficulty === null) return "–";
  const day = worker.best_difficulty_24h;
  // Without proof of work, as in a demo, hashes are worth next to nothing.
  const text = worker.best_difficulty < 0.01 ? "< 0.01" : large(worker.best_difficulty);
  return { text, title: day === null ? "none in 24 h" : `in 24 h: ${day < 0.01 ? "< 0.01" : large(day)}` };
}

function workerRow(worker) {
  const silence = worker.last_share_seconds;
  return [
    { text: worker.name ?? "–", title: worker.name ?? "", kind: "name strong" },
    hashrate(worker.hashrate["1m"]), hashrate(worker.hashrate["15m"]), hashrate(worker.hashrate["24h"]),
    silence === null ? "never" : `${duration(silence)} ago`, count(worker.shares.accepted),
    problem(worker.shares.rejected, worker.shares.rejected_by), problem(worker.shares.refused, worker.shares.refused_by),
    count(worker.shares.unanswered + worker.shares.lost), worker.difficulty === null ? "–" : large(worker.difficulty),
    best(worker),
    worker.response_ms === null ? "–" : milliseconds(worker.response_ms),
    { text: count(worker.connections), tone: worker.connections === 0 ? "warn" : "" },
    worker.pool ?? "–", { text: worker.agent ?? "–", title: worker.agent ?? "", kind: "name" },
  ];
}

async function askBlocks() {
  try {
    const list = await ask(`/api/v1/blocks?limit=${BLOCKS}`);
    fill("blocks", list.items.map(blockRow), "No address is blocked. Those that attack, or that an operator blocks, would stand here.");
  } catch (error) {
    if (error instanceof Refused) empty("blocks", `The blocked addresses cannot be shown: ${error.message}`);
  }
}

const blockRow = (block) => [
  block.address, `${duration(block.seconds)} ago`, duration(block.seconds_left), count(block.offences),
];

function askAll() {
  if (document.hidden) return;
  askWorkers();
  askBlocks();
}

function turn(by) {
  skipped = Math.max(0, skipped + by);
  askWorkers();
}

let typed = null;
at("workers-order").addEventListener("change", () => turn(-skipped));
at("workers-search").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => turn(-skipped), 200);
});
at("workers-back").addEventListener("click", () => turn(-PAGE));
at("workers-next").addEventListener("click", () => turn(PAGE));
document.addEventListener("visibilitychange", askAll);
recall();
open();
askAll();
setInterval(askAll, ASK_EVERY_MS);
setInterval(look, 1_000);
