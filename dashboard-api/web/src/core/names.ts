// Names for ids: patients of alerts, users of timelines. Asked once each, kept in memory only, forgotten at log-out.
import { effect, signal } from "@preact/signals";
import { get, getAll, session } from "./api";
import type { Patient, User } from "./types";

const patients = signal<ReadonlyMap<string, string>>(new Map());
const users = signal<ReadonlyMap<string, string>>(new Map());
const asked = new Set<string>();
let askedUsers = false;

effect(() => {
  if (session.value) return;
  patients.value = new Map();
  users.value = new Map();
  asked.clear();
  askedUsers = false;
});

/** A patient's name, or null until it is known. */
export function patientName(id: string, given?: string | null): string | null {
  if (given) return given;
  if (!asked.has(id)) {
    asked.add(id);
    get<Patient>(`/patients/${encodeURIComponent(id)}`).then(
      (p) => (patients.value = new Map(patients.value).set(id, p.name)),
      () => undefined, // outside the scope: the id stays
    );
  }
  return patients.value.get(id) ?? null;
}

/** A user's name; the caller's own comes from the session, the others' from the list where the caller may read it. */
export function userName(id: string | null | undefined, given?: string | null): string | null {
  if (given) return given;
  if (!id) return null;
  const self = session.value?.user;
  if (self?.id === id) return self.name ?? self.username;
  if (!askedUsers) {
    askedUsers = true;
    getAll<User>("/users?limit=200", 1000).then(
      (all) => (users.value = new Map(all.map((u) => [u.id, u.name ?? u.username]))),
      () => undefined,
    );
  }
  return users.value.get(id) ?? null;
}
