// The English words of the pages about rules.
import type { RuleMessages } from "./rules-zh";

const parameters = {
  systolic: "Systolic limit", diastolic: "Diastolic limit", window: "How long a repeat is waited for", normals: "Normal repeats that clear it", hold: "No second alert within",
  worse: "Alert again within that time if higher by", dizzy: "Systolic limit with dizziness on two drugs or more", homeSystolic: "Home systolic target", homeDiastolic: "Home diastolic target",
  share: "Share of the planned sessions needed", days: "Days with data needed", gap: "Readings this close are one session", urgentSystolic: "Urgent when over the systolic target by", urgentDiastolic: "Urgent when over the diastolic target by",
  margin: "Clears this far below the target", limit: "Glucose limit", critical: "Critical limit", recovered: "Recovered from", age: "Counts as older from", perWeek: "Planned measurements a week",
  remind: "Silence until the patient is reminded", call: "Silence until the health manager calls", inform: "Silence until the doctor is told", low: "Too low: systolic below", oldLow: "Too low for older people: systolic below",
  difference: "Systolic difference, morning over evening", gate: "Smallest change that is told", urgent: "Change that is urgent", near: "The doctor is told when this close to the target", below: "Told only when recent systolic is below", doses: "Quiet after a dose was raised for",
  denseFrom: "Measured often: from", mediumFrom: "Measured fairly often: from", denseLimit: "Statistical limit, measured often", mediumLimit: "Statistical limit, fairly often", sparseLimit: "Statistical limit, seldom",
  denseRecent: "Recent days needed, often", denseReference: "Earlier days needed, often", mediumRecent: "Recent days needed, fairly often", mediumReference: "Earlier days needed, fairly often", sparseRecent: "Recent days needed, seldom", sparseReference: "Earlier days needed, seldom",
  priorDays: "Weight of what is usual, in days", priorVariance: "Usual variance", settle: "Starts anew after a drug change for", readings: "Irregular readings in a session", sessions: "On so many days", fast: "Pulse too fast above", slow: "Pulse too slow below",
  severe: "Severe low below", night: "Night lasts from midnight for", values: "Values needed", fastingHigh: "Fasting upper target", postMealHigh: "After-meal upper target", missed: "Missed doses", times: "Bad measurements in 7 days", constant: "Equal values in a row",
  "BP-V1.limit": "Day-to-day variation (CV) of morning systolic", "GLU-V1.limit": "Low-glucose risk index (LBGI) limit", "GLU-V1.urgent": "LBGI that is urgent", "GLU-T1.gate": "Smallest change that is told (ratio)", "GLU-S2.share": "Share of values over the limit",
  "BP-S3.days": "Days needed", "PUL-1.days": "Days with an unusual pulse", "PUL-1.sessions": "Days with an irregular pulse", "GLU-H1.days": "Days with a low", "GLU-H1.window": "Days looked at", "GLU-H1.limit": "Low below",
};

export const rulesEn: RuleMessages = {
  title: "Rules", one: "Rule", intro: "Readings from home are judged by these rules. Two people sign before a number holds, and it can be tried on past data first.",
  id: "Id", says: "What it says", version: "Version", state: "State", groups: { blood_pressure: "Blood pressure", blood_glucose: "Blood glucose", any: "Measuring and devices" },
  waiting: "a draft waits for a signature", planned: (at) => `changes on ${at}`, ownValues: (n) => `${n} with values of their own`, asInstalled: "As installed; nobody here has changed it", signedBy: (a, b, at) => `Drafted by ${a}, signed by ${b}, in force since ${at}`,
  rolledBack: (by, at) => `Rolled back by ${by} on ${at}`,
  what: "What it says", clears: "What would clear it", guideline: "Guideline", numbers: "Numbers", number: "Value", bounds: "Allowed", owner: "Who may change it", source: "Source",
  owners: { platform: "platform (two people)", station: "station (two people)", patient: "doctors, for one patient" },
  values: "Values of stations and groups", valuesHint: "What wins: the patient's own > group > station > platform.", everybody: "all patients", place: (name) => name, tag: (tag) => `patients with “${tag}”`, tagAt: (tag, name) => `patients of ${name} with “${tag}”`,
  change: "Change numbers", changeHint: "A change is a draft until somebody else with the right signs it. You cannot sign your own.", forWhom: "For", tagLabel: "Only patients with this tag or condition (optional)", from: "From when (empty: as soon as it is signed)", note: "Why", saveDraft: "Save draft", noChange: "No number has been changed yet.", saved: "Draft saved; it waits for a second person.",
  technical: "More statistical numbers", nothingHere: "No number can be changed at this level.", mayNot: "Your role cannot change rules; you can try numbers on past data.",
  drafts: "Drafts", scheduled: "Signed, not yet in force", history: "Former versions", noDrafts: "No draft waits for a signature.", draftOf: (who, at) => `drafted by ${who} on ${at}`, approvedBy: (who, at) => `signed by ${who} on ${at}`, fromAt: (at) => `in force from ${at}`,
  fromApproval: "in force as soon as it is signed", approve: "Approve", withdraw: "Withdraw", rollback: "Roll back", ownDraft: "Yours: somebody else signs it.", changes: (name, a, b) => `${name}: ${a} → ${b}`, textChanged: "the text was changed", nothingChanged: "the same numbers as in force", backTo: "back to an earlier version", installed: "as installed",
  confirmApprove: "Approve this draft?", confirmApproveText: "From then on readings are judged by the new numbers; what was concluded stays.", confirmRollback: "Roll back to the version before?", confirmRollbackText: "At once, without a second person; it is written into the audit.", done: { approve: "Approved.", withdraw: "Withdrawn.", rollback: "Rolled back." },
  rehearse: "Try it on past data", rehearseHint: "Only calculated: nobody is told and nothing is stored. Medication and personal targets are taken as they are today.", tryDraft: "Try this draft", run: "Try", stop: "Stop", days: "Period", lastDays: (n) => `last ${n} days`, progress: (n, of) => `${n} of ${of} patients done`, stopped: "Stopped.",
  did: "As it was", would: "With these numbers", told: "Clinicians told", people: "Patients concerned", perWeek: "a week", perMonth: "per patient-month", severities: "critical / urgent / routine", notOnly: "Other rules that would differ", weekly: "Told each week", week: "Week (from Monday)", sample: (n, of) => `${n} of ${of} patients, taken by their random number.`,
  examples: "Examples", change2: { new: "new", gone: "no longer", changed: "other severity" }, when: "When", patient: "Patient", numbersUsed: "Numbers", same: "Exactly as it was.",
  parameters,
};
