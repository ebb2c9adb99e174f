// Mocha's spec reporter, with skipped cases listed with their reasons, a line a case in a file for comparison between
// lanes (IOMMUFD_RESULTS), and the closing line that CI reads.
import { appendFileSync } from 'node:fs';
import Mocha from 'mocha';

export default class Reporter extends Mocha.reporters.Spec {
  /** Cases of the suites, by whether they have a transcript. */
  readonly #held = { with: 0, without: 0 };

  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    runner.on('pass', (test) => {
      if ('held' in test) this.#held[test.held === true ? 'with' : 'without']++;
    });
    const file = process.env.IOMMUFD_RESULTS;
    if (file === undefined) return;
    const note = (outcome: string) => (test: Mocha.Test, error?: unknown) => {
      const message = error instanceof Error ? error.message : undefined;
      const about = {
        calls: 'calls' in test ? test.calls : undefined,
        compareCalls: 'compareCalls' in test ? test.compareCalls : undefined,
        lacking: 'lacking' in test ? test.lacking : undefined,
      };
      appendFileSync(file, `${JSON.stringify({ title: test.title, outcome, message, ...about })}\n`);
    };
    runner.on('pass', note('passed'));
    runner.on('fail', note('failed'));
    runner.on('pending', note('skipped'));
  }

  override epilogue(): void {
    super.epilogue();
    const { with: held, without } = this.#held;
    if (held > 0) console.log(`${held} cases are like their transcripts of a real kernel; ${without} have none`);
    const { passes = 0, failures = 0, pending = 0 } = this.stats;
    console.log(`${passes} passed, ${failures} failed, ${pending} skipped`);
  }
}
