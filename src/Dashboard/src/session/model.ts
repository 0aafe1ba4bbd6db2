import { call, type Diagnosis, type History, type InferenceStep, type Session, type Snapshot, type Stats, type Step } from '../api/client';

const mostSteps = 1024;
// What has come since the last look is told by events: only the channel that is followed is not.
const newestSteps = 100;

/** What the page knows of a session; kept together so that all of it is of about the same moment. */
export interface Seen {
  session: Session;
  stats: Stats;
  diagnosis: Diagnosis;
  snapshots: Snapshot[];
}

/** What is read of a session, and the steps that have been seen, which outlive a restart of the service as long as the page is open. */
export class SessionModel {
  seen: Seen | null = null;
  steps: Step[] = [];
  inferences: InferenceStep[] = [];
  channel = 0;

  constructor(
    readonly name: string,
    private readonly signal: AbortSignal,
  ) {}

  /** Reads everything; of the steps only the newest where the others have been read. */
  async read(isFirst: boolean): Promise<void> {
    const path = { session: this.name };
    const { signal } = this;
    const [session, stats, diagnosis, snapshots, history] = await Promise.all([
      call('get', '/v1/sessions/{session}', { path, signal }),
      call('get', '/v1/sessions/{session}/stats', { path, query: { include: 'num_batches_tracked,running_mean,running_var,gamma,beta,last_batch' }, signal }),
      call('get', '/v1/sessions/{session}/diagnostics', { path, signal }),
      call('get', '/v1/sessions/{session}/snapshots', { path, signal }),
      this.askHistory(isFirst ? mostSteps : newestSteps),
    ]);
    this.seen = { session, stats, diagnosis, snapshots: snapshots.snapshots };
    this.remember(history.steps, history.inferences);
  }

  /** Follows another channel. */
  async follow(channel: number): Promise<void> {
    this.channel = channel;
    const history = await this.askHistory(mostSteps);
    if (channel === this.channel) this.remember(history.steps, history.inferences);
  }

  /** Adds a step that has just been made. */
  addStep(step: Step): void {
    this.remember([step], []);
  }

  /** Adds an inference batch that has just been looked at. */
  addInference(inference: InferenceStep): void {
    this.remember([], [inference]);
  }

  private askHistory(limit: number): Promise<History> {
    const query = { limit, channel: this.channel };
    return call('get', '/v1/sessions/{session}/history', { path: { session: this.name }, query, signal: this.signal });
  }

  // Steps in mode frozen share their version with others, so that their time tells them apart.
  private remember(steps: readonly Step[], inferences: readonly InferenceStep[]): void {
    const byPlace = new Map(this.steps.map((step) => [`${step.version} ${step.at}`, step]));
    for (const step of steps) {
      const place = `${step.version} ${step.at}`;
      // What an event tells has no channel: it must not take the place of what has.
      if (step.channel || !byPlace.has(place)) byPlace.set(place, step);
    }
    this.steps = [...byPlace.values()].sort((a, b) => a.version - b.version || a.at.localeCompare(b.at)).slice(-mostSteps);
    const byTime = new Map([...this.inferences, ...inferences].map((inference) => [inference.at, inference]));
    this.inferences = [...byTime.values()].sort((a, b) => a.at.localeCompare(b.at)).slice(-mostSteps);
  }

  /** Forgets the channels of steps, which are those of another one. */
  forgetChannels(): void {
    this.steps = this.steps.map(({ channel: _, ...step }) => step);
  }
}
