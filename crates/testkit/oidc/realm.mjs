// One realm: its keys, its clients, and the provider which serves them at the moment.

import { newProvider } from './configuration.mjs';
import { Faults } from './faults.mjs';
import { newKey, signToken } from './keys.mjs';
import { addClient } from './settings.mjs';

export class Realm {
  constructor(issuer, settings) {
    this.issuer = issuer;
    this.settings = settings;
    this.faults = new Faults();
    this.keys = settings.keys ?? settings.algorithms.map((alg) => newKey(alg));
    this.#renew();
  }

  // oidc-provider cannot change keys or clients, so another provider takes over.
  #renew() {
    this.provider = newProvider(this.issuer, this.settings, this.keys);
    this.callback = this.provider.callback();
  }

  // New keys take the place of the present ones: `keep_old` leaves the old keys published, and
  // `keep_ids` gives the new keys the ids of the old ones.
  rotate({ keep_old: keepOld = false, keep_ids: keepIds = false }) {
    if (keepOld && keepIds) throw new Error('keys of one set need different ids');
    const { algorithms } = this.settings;
    const old = this.keys;
    const idOf = (alg) => (keepIds ? old.find((key) => key.alg === alg)?.kid : undefined);
    const fresh = algorithms.map((alg) => newKey(alg, idOf(alg)));
    this.keys = keepOld ? [...fresh, ...old] : fresh;
    this.#renew();
  }

  addClient(client) {
    addClient(this.settings, client);
    this.#renew();
  }

  sign(request) {
    const { audience, algorithm } = this.settings;
    return signToken(request, this.keys, { issuer: this.issuer, audience, algorithm });
  }
}
