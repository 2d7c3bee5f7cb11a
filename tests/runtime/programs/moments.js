// SPDX-License-Identifier: MIT
// Stops at five moments and waits for a line on standard input: after start-up, with a heap of arrays,
// with native memory and generated code, with threads at work, after they have ended.
"use strict";
const fs = require("fs");
const { Worker, isMainThread } = require("worker_threads");
const MIB = 1 << 20;

function moment(name) {
    fs.writeSync(1, name + "\n");
    const byte = Buffer.alloc(1);
    do {
        if (fs.readSync(0, byte, 0, 1) === 0) process.exit(2);
    } while (byte[0] !== 10);
}

// Garbage of several sizes, buffers, generated code: everything asks for memory all the time.
function churn() {
    for (let sum = 0; ; ++sum) {
        const kept = [];
        for (let i = 0; i < 1000; ++i) kept.push({ i, text: "number " + i });
        sum += Buffer.alloc(96 << 10, kept.length).length + new Function("x", `return x + ${sum % 100};`)(1);
    }
}

function numbers() {
    const a = new Array(MIB / 8);
    for (let i = 0; i < a.length; ++i) a[i] = i + 0.5;
    return a;
}

async function main() {
    moment("started");
    const held = [];
    for (let i = 0; i < 64; ++i) held.push(numbers());
    moment("arrays");
    const natives = [];
    for (let i = 0; i < 16; ++i) natives.push(Buffer.alloc(MIB, 1));
    for (let i = 0; i < 200; ++i) new Function("x", `return x + ${i};`)(i);
    natives.push(new WebAssembly.Memory({ initial: 16 }));
    moment("native");
    const workers = [];
    for (let i = 0; i < 2; ++i) {
        workers.push(new Worker(__filename));
        await new Promise((online) => workers[i].once("online", online));
    }
    moment("busy");
    for (const w of workers) await w.terminate();
    held.length = natives.length = 0;
    moment("collected");
}

if (isMainThread) main();
else churn();
