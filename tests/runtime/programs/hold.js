// SPDX-License-Identifier: MIT
// Takes MIB of buffers, says "ready", holds them until its input ends, says "done".
// With "wait" (and --expose-gc) it takes them where V8 does not count them, having dropped a thousand old
// objects, and waits until a collection has taken some of these, a hundred seconds at most; "done True", then.
'use strict';
const waits = process.argv[3] === 'wait';
const kept = [];
const seen = [];

function drop() {
  const held = [];
  for (let i = 0; i < 1000; ++i) {
    held.push({ i });
    seen.push(new WeakRef(held[i]));
  }
  global.gc(); // they grow old
  global.gc();
  return held.length;
}

function take() {
  for (let i = Number(process.argv[2]); i > 0; --i) {
    kept.push(waits ? new SharedArrayBuffer(1 << 20) : Buffer.alloc(1 << 20, 1));
  }
  console.log('ready');
}

function end(rounds) {
  const isGone = seen.some((w) => w.deref() === undefined);
  if (waits && !isGone && rounds > 0) setTimeout(end, 10, rounds - 1);
  else console.log('done', waits ? (isGone ? 'True' : 'False') : kept.length);
}

if (waits) drop();
setTimeout(take, 0); // a WeakRef keeps what it was made of for the rest of its turn
process.stdin.resume();
process.stdin.on('end', () => end(10000));
