// SPDX-License-Identifier: MIT
// Leaks one kind of memory until Node throws, lets go, works on and says in a line of JSON what was
// caught. README.md has the words. What lives in V8's own heap ends the process when that heap is
// full, whatever the limit came from: `arrays`, `objects` and `code` show it; `worker` leaks objects in a
// Worker with resourceLimits, where the same can be caught.
//
//   memreeve run --limit 256M -- node leaks.js typed
'use strict';
const { Worker, isMainThread, workerData } = require('worker_threads');

const block = 1 << 20;
const page = 4096;
let enough = 1 << 30;
let count = 0;
let bytes = 0;
let held = [];

function arrays() {
    for (; bytes < enough; ++count, bytes += block)
        held.push(new Array(block / 8).fill(count));
}

function typed() {
    for (; bytes < enough; ++count, bytes += block)
        held.push(new Float64Array(block / 8).fill(1));
}

function objects() {
    let head = null;
    for (; bytes < enough; ++count, bytes += 48) {
        head = { next: head, a: count, b: count + 0.5, c: 'x' };
        if (count % 4096 === 0)
            held.push(head);
    }
}

function native() {
    for (; bytes < enough; ++count, bytes += block) {
        const b = count % 2 ? Buffer.alloc(block) : Buffer.from(new ArrayBuffer(block));
        for (let i = 0; i < block; i += page)
            b[i] = 1;
        held.push(b);
    }
}

function code() {
    const vm = require('vm');
    for (; bytes < enough; ++count) {
        let source = '(() => { const made = {};';
        for (let i = 0; i < 50; ++i)
            source += `made.f${i} = (x) => { const y = x * ${i} + ${count}; return [y, 'text ${count} ${i}']; };`;
        source += 'return made; })()';
        const made = new vm.Script(source).runInThisContext();
        for (let i = 0; i < 50; ++i)
            if (made['f' + i](2)[0] !== 2 * i + count)
                throw new Error('generated code computed wrongly');
        held.push(made);
        bytes += source.length;
    }
}

// Workers that stay; the error of one that could not be made.
async function threads() {
    const stay = "require('worker_threads').parentPort.on('message', () => process.exit(0)).postMessage('ready')";
    while (count < 2000) {
        const w = new Worker(stay, { eval: true });
        await new Promise((done, failed) => {
            w.once('message', done);
            w.once('error', failed);
            w.once('exit', () => failed(new Error('a worker ended')));
        });
        held.push(w);
        ++count;
        bytes += 4 * block;
    }
}

async function worker() {
    const most = Math.floor(require('v8').getHeapStatistics().heap_size_limit / block / 2);
    const w = new Worker(__filename, { workerData: { enough },
                                       resourceLimits: { maxOldGenerationSizeMb: most, maxYoungGenerationSizeMb: 4 } });
    await new Promise((done, failed) => {
        w.on('message', (n) => { count = n; bytes = n * 48; });
        w.once('error', failed);
        w.once('exit', done);
    });
}

function work() {
    const composite = new Uint8Array(200000);
    const found = [];
    for (let i = 2; i < composite.length; ++i) {
        if (composite[i])
            continue;
        found.push(String(i));
        for (let j = i * i; j < composite.length; j += i)
            composite[j] = 1;
    }
    return found.length;
}

// Garbage and long-lived objects of all sizes in a table of live bytes, buffers of 64 KiB that hold native
// bytes, written anew every 64 operations (a buffer is freed by the collector alone, so it is not replaced);
// an operation is one object.
function steady(seconds, live, native) {
    const piece = 64 << 10;
    const table = new Array(Math.max(Math.floor(live / 1024), 64)).fill(null);
    const blocks = [];
    for (let n = 0; n < native; n += piece)
        blocks.push(Buffer.alloc(piece, 1));
    let random = 12345;
    let operations = 0;
    let timed = 0;
    let begun = -1;
    const zero = performance.now();
    for (;;) {
        const now = (performance.now() - zero) / 1000;
        if (begun < 0 && now >= seconds * 0.2) {
            begun = now;
            timed = operations;
        }
        if (now >= seconds)
            return { mode: 'steady', operations, seconds: +now.toFixed(3),
                     per_second: +((operations - timed) / (now - begun)).toFixed(1), caught: 0 };
        for (let i = 0; i < 256; ++i, ++operations) {
            random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
            const size = (random >>> 8) % 32 === 0 ? (random >>> 12) % 1024 + 1 : (random >>> 12) % 192 + 8;
            const slot = (random >>> 7) % table.length;
            const fresh = new Array(size).fill(size);
            const old = table[slot];
            if (old !== null && old[old.length - 1] !== old.length)
                throw new Error('contents changed');
            table[slot] = fresh;
            if (operations % 64 === 0 && blocks.length > 0)
                blocks[(random >>> 9) % blocks.length].fill(random & 255);
        }
    }
}

async function main(words) {
    const modes = { arrays, typed, objects, native, threads, code, worker };
    const mode = words[0];
    if (mode === 'steady' && words.length === 4) {
        console.log(JSON.stringify(steady(+words[1], +words[2] * block, +words[3] * block)));
        return;
    }
    if (!(mode in modes)) {
        console.error('usage: leaks.js arrays|typed|objects|native|threads|code|worker [MIB] | steady SECONDS LIVE_MIB NATIVE_MIB');
        process.exitCode = 2;
        return;
    }
    enough = (+words[1] || 1024) * block;
    const before = work();
    console.error('leaking ' + mode);
    let caught = null;
    try {
        await modes[mode]();
    } catch (e) {
        if (!(e instanceof RangeError || e.code || e.message === 'a worker ended'))
            throw e;
        caught = `${e.name}: ${e.code || e.message}`;
    }
    await Promise.all(held.filter((h) => h instanceof Worker).map((w) => w.terminate()));
    held = [];
    const same = work() === before;
    console.log(JSON.stringify({ mode, caught, count, bytes, worked: same }));
    process.exitCode = same ? 0 : 3;
}

if (isMainThread) {
    main(process.argv.slice(2));
} else {
    const { parentPort } = require('worker_threads');
    enough = workerData.enough;
    const told = setInterval(() => {}, 1 << 30);
    parentPort.postMessage(0);
    objects();
    clearInterval(told);
}
