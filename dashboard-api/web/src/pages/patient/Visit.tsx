// The last visit that was written down, and a field to write down the next: FU-1 counts from it.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call, Problem, session } from "../../core/api";
import { now, zone } from "../../core/clock";
import { dayOf } from "../../core/format";
import type { Patient } from "../../core/types";
import { t } from "../../i18n";
import { Card } from "../../ui/basics";

/** Who writes into a patient's record (contract: who may do what). */
const WRITERS = ["gp", "health_manager", "station_admin", "region_admin"];

export function VisitCard({ person, changed }: { person: Patient; changed: () => void }): JSX.Element {
  const m = t.value.visit;
  const today = dayOf(now(), zone.value);
  const [day, setDay] = useState(today);
  const [said, setSaid] = useState("");
  const may = session.value?.user.roles.some((r) => WRITERS.includes(r)) ?? false;
  async function write(event: Event): Promise<void> {
    event.preventDefault();
    try {
      await call("PATCH", `/patients/${encodeURIComponent(person.id)}`, { visitedOn: day });
      setSaid(m.written(day));
      changed();
    } catch (error) {
      setSaid(error instanceof Problem ? error.detail || error.title : m.failed);
    }
  }
  return (
    <Card title={m.title} id="visit">
      <p>{person.visitedOn ? m.last(person.visitedOn) : m.none}</p>
      {may && (
        <form class="row" onSubmit={(e) => void write(e)}>
          <label>{m.day} <input type="date" required max={today} value={day} onInput={(e) => setDay(e.currentTarget.value)} /></label>
          <button type="submit">{m.write}</button>
        </form>
      )}
      <p role="status" class="quiet small">{said}</p>
    </Card>
  );
}
