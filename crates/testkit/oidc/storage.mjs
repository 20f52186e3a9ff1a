// Sessions, grants and tokens of a process, for every provider in it. The storage that comes with
// oidc-provider belongs to one provider, and with its keys all sessions would change.

const RECORDS = new Map();

// The storage of one kind of records; oidc-provider checks itself whether a record has expired.
export class Storage {
  #kind;

  constructor(kind) {
    this.#kind = kind;
  }

  async upsert(id, record) {
    this.#records().set(id, record);
  }

  async find(id) {
    return this.#records().get(id);
  }

  async findByUid(uid) {
    return [...this.#records().values()].find((record) => record.uid === uid);
  }

  async consume(id) {
    this.#records().get(id).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.#records().delete(id);
  }

  async revokeByGrantId(grantId) {
    for (const [id, record] of this.#records()) {
      if (record.grantId === grantId) this.#records().delete(id);
    }
  }

  #records() {
    if (!RECORDS.has(this.#kind)) RECORDS.set(this.#kind, new Map());
    return RECORDS.get(this.#kind);
  }
}
