/** Work in portions, so that the page stays smooth: a few milliseconds of it in each frame, first come first served. */

const BUDGET_MS = 8;

/** @type {Set<() => boolean>} */
const jobs = new Set();
let asked = false;

/**
 * @param {() => boolean} job does a portion and returns whether there is more; requested twice, it runs once
 */
export function inFrames(job) {
  jobs.add(job);
  if (asked) return;
  asked = true;
  requestAnimationFrame(work);
}

function work() {
  const end = performance.now() + BUDGET_MS;
  const later = new Set();
  for (const job of jobs) {
    if (performance.now() >= end) break;
    jobs.delete(job);
    try {
      let more = job();
      while (more && performance.now() < end) more = job();
      if (more) later.add(job);
    } catch (error) {
      reportError(error); // and go on with the others
    }
  }
  for (const job of jobs) later.add(job);
  jobs.clear();
  for (const job of later) jobs.add(job);
  asked = jobs.size > 0;
  if (asked) requestAnimationFrame(work);
}
